"""The rubric files of the prompts folders: drafts, until a draw or a person makes one of them active."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import RubricError, SettingsError

if TYPE_CHECKING:  # half of the commands read no rubric
    from worker.core.rubric.parse import Rubric


class Drafts:
    """The files as they lie there now. A wrong file is no error here: only who needs it has a problem."""

    def __init__(self, configured: str | None) -> None:
        """Read nothing yet.

        Args:
            configured: The team's folder as the settings name it; None for `./prompts`, where there is one.
        """
        self._configured = configured

    @cached_property
    def folders(self) -> list[Path]:
        """Where rubrics come from, a later folder's laid over an earlier one's: the shipped ones, then the user's.

        Raises:
            SettingsError: The folder that the settings name does not exist.
        """
        from worker.scorers.rubric.files import shipped_prompts

        if self._configured is not None:
            if not Path(self._configured).is_dir():
                raise SettingsError(f"SPOTCHECK_PROMPTS: folder {self._configured!r} does not exist")
            return [shipped_prompts(), Path(self._configured)]
        beside = Path("prompts")
        is_other = beside.is_dir() and beside.resolve() != shipped_prompts().resolve()
        return [shipped_prompts(), beside] if is_other else [shipped_prompts()]

    @cached_property
    def _read(self) -> "tuple[Mapping[str, Rubric], Mapping[str, RubricError]]":
        from worker.scorers.rubric.files import load

        problems: dict[str, RubricError] = {}
        try:
            folders = self.folders
        except SettingsError as error:
            return {}, {"": RubricError(str(error))}
        rubrics = load(folders, on_broken=problems.__setitem__)
        if "" in problems:  # of a folder that cannot be read nobody knows which shipped rubrics it replaces
            rubrics = {}
        return rubrics, problems

    @property
    def rubrics(self) -> "Mapping[str, Rubric]":
        """The rubrics whose files are right, by name; none where the folder that the settings name does not exist."""
        return self._read[0]

    @property
    def problems(self) -> Mapping[str, RubricError]:
        """What is wrong, by the name of the rubric; under an empty name where a folder cannot be read."""
        return self._read[1]

    @property
    def names(self) -> set[str]:
        """Names of all rubrics that have a file, right or wrong; one that is only included has a dot in its name."""
        return {*self.rubrics, *(name for name in self.problems if name and "." not in name)}

    def is_shipped(self, rubric: "Rubric") -> bool:
        """Whether its file is one that comes with Spotcheck."""
        return Path(rubric.path).parent == self.folders[0]

    def problem(self, name: str) -> RubricError | None:
        """What is wrong with a rubric's file, or with its folder; None where nothing is, or where there is none."""
        return self.problems.get(name) or self.problems.get("")
