"""How often a second judge was asked, what that cost, and the story of a run that it was asked about."""

from collections.abc import Mapping
from typing import Any

import orjson

from tests.support.documents import a_document, lines
from tests.support.rubrics import changed
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, Answer, JudgeServer, completion

BIG = "big-judge"
TOML = f"""\
[sampling]
rate = 1.0
[scoring]
heuristics = ["answer_present"]
[judge.prices."{MODEL}"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 4.0
[judge.prices."{BIG}"]
input_usd_per_mtok = 10.0
output_usd_per_mtok = 40.0
"""
CASCADE = {
    "judge:\n  backend: chat": f"judge:\n  escalate: {{when: [unknown], to: {BIG}}}\n  backend: chat",
}


def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    """The first judge cannot decide about the second run."""
    prompt = "\n".join(message["content"] for message in request["messages"])
    criteria = request["response_format"]["json_schema"]["schema"]["properties"]
    said = "unknown" if request["model"] == MODEL and "order 2" in prompt else "pass"
    verdicts = {name: {"evidence": [], "reason": "because", "verdict": said} for name in criteria}
    return completion(orjson.dumps(verdicts).decode(), prompt=prompt, model=str(request["model"]))


def test_the_rate_the_cost_and_the_story_are_there_to_read(shell: Shell) -> None:
    (shell.folder / "spotcheck.toml").write_text(TOML)
    changed(shell.folder / "prompts", CASCADE)
    before = shell("rubric", "list", "--json")
    assert before.err == ""
    assert [rubric["escalations"] for rubric in before.json["rubrics"]] == [[]] * 5
    assert not (shell.folder / "spotcheck.db").exists()
    night = "".join(a_document("r-1")["ended_at"][:10])
    with JudgeServer(answer) as judge:
        shell.environ |= {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        shell(
            "ingest", "-", stdin=lines(*(a_document(f"r-{n}", output=f"I have refunded order {n}.") for n in range(4)))
        )
        assert shell("nightly", "--date", night, "--wait").code == 0
    (found,) = [
        rubric for rubric in shell("rubric", "list", "--json").json["rubrics"] if rubric["name"] == "task_completion"
    ]
    (told,) = found["escalations"]
    assert (told["first"], told["second"], told["judged"], told["escalated"]) == (MODEL, BIG, 4, 1)
    assert (told["rate"], told["agreement"], told["weeks"]) == (0.25, None, 4)
    assert 5 * told["first_usd"] < told["second_usd"]
    said = shell("rubric", "list").out
    line = f"4 weeks: 1 of 4 runs (25.0%) escalated from {MODEL} to {BIG}; of those the first judge cost $0."
    assert line in " ".join(said.split())
    story = shell("explain", "r-2").out
    assert f"escalated to {BIG} (undecided): pass; judge {BIG}" in " ".join(story.split())
    assert "escalated" not in shell("explain", "r-1").out


def test_a_database_that_does_not_answer_is_told_beside_the_list(shell: Shell) -> None:
    changed(shell.folder / "prompts", CASCADE)
    said = shell("rubric", "list", SPOTCHECK_DATABASE_URL="sqlite:///nowhere/spotcheck.db")
    assert said.code == 0
    assert "task_completion" in said.out
    assert said.err.startswith("which versions score is not known: ")
    assert "how often second judges were asked is not known: " in said.err
    assert said.err.count("\n") == 2
