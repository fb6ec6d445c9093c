"""The recorded simulations are those of the present code, and within their limits."""

import orjson
import pytest

from bench.simulations import RECORD, SIMULATIONS, code_hash, failures


@pytest.mark.parametrize("name", SIMULATIONS)
def test_what_was_recorded_holds(name: str) -> None:
    assert failures(name, orjson.loads(RECORD.read_bytes())[name]["figures"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMULATIONS)
def test_the_record_belongs_to_the_present_code(name: str) -> None:
    """Fails after a change of the code that decides the figures: run `make bench-statistics`, and commit the record."""
    assert orjson.loads(RECORD.read_bytes())[name]["code"] == code_hash(SIMULATIONS[name].code)
