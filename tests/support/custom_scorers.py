"""Scorers of a team's own: modules in a folder, and a package as an installer leaves it."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

HARMLESS = '''\
"""Scorers of the shop."""


def short_answer(run):
    """1 when the answer is at most 100 characters."""
    return run.output is None or len(run.output) <= 100
'''


def write_module(folder: Path, name: str, text: str = HARMLESS) -> Path:
    """A module of this name in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


def install(folder: Path, package: str, scorers: Mapping[str, str], text: str = HARMLESS) -> Path:
    """A package of one module with entry points for scorers, as an installer would leave it in site-packages.

    Args:
        folder: Stands for site-packages.
        package: Name of the package and of its module.
        scorers: Target by name, `module:function`.
        text: The module.
    """
    write_module(folder, package, text)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = {target}" for name, target in scorers.items()]
    (about / "entry_points.txt").write_text("\n".join(["[spotcheck.scorers]", *lines, ""]), encoding="utf-8")
    return folder


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """A folder is searched for modules; what was imported from it is forgotten afterwards."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(f"{folder}/"):
                del sys.modules[name]
