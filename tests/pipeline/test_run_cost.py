"""What a run cost, found by its tokens at the intake, kept in the store and told."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from tests.support.documents import lines
from tests.support.project import MONDAY, PLAIN, Installation, document, ingest, rows
from tests.support.shell import Shell
from worker.store.runs import runs
from worker.store.tables import RunRow, core

pytestmark = pytest.mark.both_stores
TOML = PLAIN + '[judge.prices."our-model"]\ninput_usd_per_mtok = 2.0\noutput_usd_per_mtok = 8.0\n'
run = core(RunRow)


def a_step(model: str, **over: Any) -> dict[str, Any]:
    return {"kind": "model", "model": model, "input_tokens": 1_000, "output_tokens": 250} | over


def test_costs_by_tokens_are_stored_with_their_source_and_a_new_price_rewrites_nothing(
    installation: Installation,
) -> None:
    project = installation.project(TOML)
    documents = [
        document("priced", steps=[a_step("our-model"), a_step("our-model")]),
        document("said", cost_usd=0.5, steps=[a_step("our-model")]),
        document("unknown", steps=[a_step("nobody-has-heard-of-it")]),
        document("no-model"),
    ]
    assert ingest(project, documents).accepted == 4
    # 2 * (1,000 * 2 + 250 * 8) / 10^6 = 0.008
    expected = {
        "priced": (pytest.approx(0.008), "price_table"),
        "said": (0.5, "client"),
        "unknown": (None, "unknown"),
        "no-model": (None, "unknown"),
    }
    statement = select(run.c.run_id, run.c.cost_usd, run.c.cost_source)
    assert {key: (cost, source) for key, cost, source in rows(project, statement)} == expected
    dearer = installation.project(TOML.replace("2.0", "200.0"))
    assert ingest(dearer, documents).duplicate == 4
    assert {key: (cost, source) for key, cost, source in rows(dearer, statement)} == expected
    with project.store.read() as connection:
        pk = connection.execute(select(run.c.pk).where(run.c.run_id == "priced")).scalar_one()
        (stored,) = runs.load(connection, [pk]).values()
    assert [step.cost_usd for step in stored.steps] == [pytest.approx(0.004)] * 2


def test_ingest_says_which_prices_it_took_and_which_are_missing(shell: Shell) -> None:
    (shell.folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    good = document("a", steps=[a_step("our-model")]), document("b", steps=[a_step("our-model")])
    (shell.folder / "runs.jsonl").write_bytes(lines(*good, document("c", steps=[a_step("nobodys")])))
    said = shell("ingest", "runs.jsonl")
    assert "runs without cost_usd, priced by their tokens: our-model (2)" in said.out + said.err
    assert "runs whose cost stays unknown, of models without a price: nobodys (1)" in said.out + said.err
    assert "[judge.prices.MODEL]" in said.out + said.err
    told = json.loads(shell("ingest", "runs.jsonl", "--json").out)
    assert {(one["what"], one["name"], one["count"]) for one in told["notices"]} >= {("unpriced", "nobodys", 1)}
    shown = json.loads(shell("show", "a", "--json").out)
    assert shown["cost_source"] == "price_table"


def test_the_night_of_a_priced_run_is_its_own(installation: Installation) -> None:
    project = installation.project(TOML)
    ingest(project, [document("late", MONDAY, steps=[a_step("our-model")])])
    assert rows(project, select(run.c.night)) == [(MONDAY,)]
