"""What all records share."""

from datetime import UTC
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

Utc = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]


class Record(BaseModel):
    """A frozen value; unknown fields are an error, so that a typo cannot pass."""

    # built when first used: most commands use few of them, and all together are a tenth of a command's start
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
