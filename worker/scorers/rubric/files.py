"""Reading rubric files: the shipped ones, and a team's own over them, rubric by rubric."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import worker
from worker.core.rubric.parse import SUFFIX, LintFinding, Rubric, RubricProblem, parse
from worker.core.rubric.schema import MAX_RUBRIC_CHARS
from worker.errors import RubricError

INCLUDE_SUFFIX = ".md.j2"
MAX_FILES = 500
"""Files of a prompts folder; more means that it is not one."""


class Folder(NamedTuple):
    """The texts of one prompts folder, not parsed yet."""

    rubrics: Mapping[str, str]
    """Texts of the rubric files, by path."""
    includes: Mapping[str, str]
    """Texts of everything that can be included, by name relative to the folder, `/` between the parts."""


def shipped_prompts() -> Path:
    """The folder of the rubrics that come with Spotcheck: in the package, or beside it in an editable install."""
    package = Path(worker.__file__).parent
    packaged = package / "_prompts"
    return packaged if packaged.is_dir() else package.parent / "prompts"


OnBroken = Callable[[str, RubricError], None]
"""Gets the name of a rubric whose file is wrong, and what is wrong; an empty name where a whole folder is."""


def load(
    folders: Sequence[Path], *, required: Sequence[Path] = (), on_broken: OnBroken | None = None
) -> dict[str, Rubric]:
    """All rubrics of some folders; a later folder's rubric replaces an earlier one's of the same name.

    A rubric includes files of its own folder, then of earlier ones; so a team's own `_shared` file never changes a
    shipped rubric.

    Args:
        folders: In rising order, usually the shipped one and the team's own.
        required: Folders that somebody asked for by name: one that is missing is an error.
        on_broken: Is told of each wrong file, which is then left out, with an earlier folder's of its name. None
            raises instead.

    Returns:
        Rubrics by name, sorted; `path` of each says which file won.

    Raises:
        RubricError: A file is wrong (says file and line), or a required folder is missing.
    """
    rubrics: dict[str, Rubric] = {}
    includes: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            if folder in required:
                raise RubricError(f"there is no prompts folder {str(folder)!r}; create it or change SPOTCHECK_PROMPTS")
            continue
        try:
            files = read_folder(folder, on_broken)
        except RubricError as error:
            if on_broken is None:
                raise
            on_broken("", error)
            continue
        includes = {**includes, **files.includes}
        for path, text in files.rubrics.items():
            try:
                rubric = parse(text, path, includes)
            except RubricError as error:
                if on_broken is None:
                    raise
                rubrics.pop(name_of(path), None)  # the shipped one of this name was not meant
                on_broken(name_of(path), error)
                continue
            rubrics[rubric.name] = rubric
    return dict(sorted(rubrics.items()))


def name_of(path: str) -> str:
    """The name of the rubric that a file of this path holds.

    Example:
        >>> name_of("prompts/refund.rubric.md.j2")
        'refund'
    """
    return Path(path).name.removesuffix(SUFFIX)


def read_folder(folder: Path, on_broken: OnBroken | None = None) -> Folder:
    """The files of one prompts folder: rubrics at its top, includes at the top and one folder below.

    Args:
        folder: Which.
        on_broken: Is told of each file that cannot be read, which is then left out. None raises instead.

    Raises:
        RubricError: A file is too large, not UTF-8, or lies outside the folder behind a link.
    """
    root = folder.resolve()
    _check_readable(folder)
    paths = sorted(path for pattern in (f"*{INCLUDE_SUFFIX}", f"*/*{INCLUDE_SUFFIX}") for path in folder.glob(pattern))
    if len(paths) > MAX_FILES:
        raise RubricError(f"{str(folder)!r} holds {len(paths):,} templates; a prompts folder may hold {MAX_FILES:,}")
    rubrics: dict[str, str] = {}
    includes: dict[str, str] = {}
    for path in paths:
        if not path.is_file():
            continue
        try:
            if not path.resolve().is_relative_to(root):
                raise _problem(path, "is a link that leads out of the prompts folder")
            text = read_text(path)
        except RubricError as error:
            if on_broken is None:
                raise
            on_broken(name_of(str(path)), error)
            continue
        if path.name.endswith(SUFFIX):
            if path.parent == folder:
                rubrics[str(path)] = text
        else:
            includes[path.relative_to(folder).as_posix()] = text
    return Folder(rubrics, includes)


def _check_readable(folder: Path) -> None:
    """Refuse a folder that cannot be listed: to `glob` it looks empty, and shipped rubrics would be used in silence."""
    try:
        with os.scandir(folder) as entries:
            below = [entry.path for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        for path in below:
            os.scandir(path).close()
    except OSError as error:
        raise RubricError(f"prompts folder {error.filename!r} cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """The text of one template.

    Raises:
        RubricError: It is too large, not UTF-8, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > 4 * MAX_RUBRIC_CHARS:
            raise _problem(path, f"has {size:,} bytes; a template may have {MAX_RUBRIC_CHARS:,} characters")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise _problem(path, f"is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise _problem(path, f"cannot be read: {error.strerror}") from None


def _problem(path: Path, text: str) -> RubricProblem:
    return RubricProblem(LintFinding(str(path), 1, 1, "schema", text))
