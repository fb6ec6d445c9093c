"""The error tree; a docstring is the default message, attributes carry the data.

SpotcheckError                 exit  retry
├─ ConfigError                  2    no    settings or a rubric is wrong
│  ├─ SettingsError             2    no
│  └─ RubricError               2    no    names file and line
├─ IngestError                  3    no    a line cannot be read; counted and kept, the others go on
├─ JudgeError                   4
│  ├─ JudgeUnavailable          4    yes   timeout, 429, 5xx, reset; may carry retry_after_s
│  ├─ JudgeRefusesUs            4    no    401, 403, unknown model: no retry helps until a person acts
│  └─ VerdictUnreadable         -    no    becomes an unscored score, never a zero
├─ StoreError                   5    yes
│  ├─ SchemaOutdated            5    no
│  └─ StoreMissing              5    no    a read makes no database
└─ ExportError                  6    yes
"""

from typing import Any, ClassVar

EXIT_OK = 0
EXIT_USAGE = 2  # usage or settings
EXIT_REJECTED = 3  # all input was rejected, or some and --strict was given
EXIT_JUDGE = 4  # the judge is not available
EXIT_STORE = 5
EXIT_EXPORT = 6
EXIT_DRIFT = 10  # drift or an alert was found and --fail-on-drift was given


class SpotcheckError(Exception):
    """Something went wrong in Spotcheck."""

    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class ConfigError(SpotcheckError):
    """A setting is wrong."""

    exit_code = EXIT_USAGE


class SettingsError(ConfigError):
    """A setting is wrong; see `spotcheck settings`."""


class RubricError(ConfigError):
    """A rubric file is wrong; see `spotcheck rubric lint`."""


class IngestError(SpotcheckError):
    """This input cannot be read as a run."""

    exit_code = EXIT_REJECTED


class JudgeError(SpotcheckError):
    """The judge gave no verdict."""

    exit_code = EXIT_JUDGE
    so_far: Any = None
    """What another judge had said before (a `records.Scoring`); None where nobody had."""
    model: str | None = None
    """Which model was asked; None where it is not known."""
    paid_usd: float = 0.0
    """What was paid on the way to it, US dollars, as far as that is known."""


class JudgeUnavailable(JudgeError):
    """The judge does not answer; the job is tried again later."""

    retry = True

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_s: float | None = None,
        is_for_all: bool = False,
        is_refusal: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.is_refusal = is_refusal
        """The server did not look at the question: it was asked too fast, or is too busy."""
        self.is_for_all = is_for_all
        """No other question would fare better now: it is the judge's trouble, not this question's."""


class JudgeRefusesUs(JudgeError):
    """The judge refuses the key or the model; check OPENAI_API_KEY, OPENAI_BASE_URL and SPOTCHECK_JUDGE_MODEL."""

    is_model_missing: bool = False
    """The server answers, and says that it does not have the model: another worker's server may have it."""


class VerdictUnreadable(JudgeError):
    """The judge answered, but not with a verdict.

    Attributes:
        reason: The unscored reason, for example `truncated`, `refusal`, `parse`.
        tokens: What the unreadable answer cost all the same, as (input, cached, output).
    """

    def __init__(self, message: str | None = None, *, reason: str = "parse") -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(SpotcheckError):
    """The database does not answer."""

    exit_code = EXIT_STORE
    retry = True


class SchemaOutdated(StoreError):
    """The database has another schema than this program; run `spotcheck db upgrade`."""

    retry = False


class StoreMissing(StoreError):
    """There is no database yet; `spotcheck ingest` makes it."""

    retry = False


class ExportError(SpotcheckError):
    """Scores could not be written to their destination."""

    exit_code = EXIT_EXPORT
    retry = True
