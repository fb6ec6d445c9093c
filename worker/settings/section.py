"""What every table of spotcheck.toml shares, and how a setting names its environment variable."""

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Variable:
    """The environment variable of a setting, written into the setting's annotation: the only place that names it.

    Example:
        `prompts: Annotated[str | None, Variable("SPOTCHECK_PROMPTS")] = None`
    """

    name: str
    kind: Literal["setting", "url", "address", "secret", "process"] = "setting"
    """`setting`: may stand in spotcheck.toml too. `url`: the same, and its password is never shown. The others are read
    from the environment only, since the file may lie in a repository: `address` is shown without its password, `secret`
    is never shown and is blanked in log lines, `process` belongs to one process (the rehearsal's clock)."""
    sink: str | None = None
    """The module in `worker/connectors/sinks/` that delivers to this address; None when this is no destination's."""

    @property
    def is_environment_only(self) -> bool:
        """Whether a file may not give the setting."""
        return self.kind in ("address", "secret", "process")


class Section(BaseModel):
    """A table of `spotcheck.toml`; an unknown key is an error, so that a typo cannot pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false are not allowed here")
        return value


def field_texts(section: type[Section]) -> Mapping[str, str]:
    """What each field of a table means: the string literal below it, in its class and those it inherits from.

    Read from the source on request, since `use_attribute_docstrings` of pydantic reads it whenever a class is made, and
    every command would wait for that. Fields without such a literal are left out.
    """
    texts: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if not issubclass(kind, Section):
            continue
        (node,) = ast.parse(inspect.getsource(kind)).body
        assert isinstance(node, ast.ClassDef)
        for field, below in pairwise(node.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else None
                if isinstance(text, str):
                    texts[field.target.id] = inspect.cleandoc(text)
    return texts
