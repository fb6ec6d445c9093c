"""The base class of all records, and the type of their times."""

from datetime import UTC
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

Utc = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class Record(BaseModel):
    """A frozen value; unknown fields are an error, so that a typo is not ignored."""

    # validators are built on first use: building all of them takes a tenth of a command's start-up
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
