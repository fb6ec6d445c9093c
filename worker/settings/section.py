"""What every table of spotcheck.toml shares."""

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

Probability = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of `spotcheck.toml`; an unknown key is an error, so that a typo cannot pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("true and false are not allowed here")
        return value
