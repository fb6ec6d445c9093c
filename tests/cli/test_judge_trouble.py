"""A judge that cannot work: exit 4, one line that says what to check, and the jobs stay in the ledger."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import a_document, lines
from tests.support.scored_project import TOML
from tests.support.shell import Shell
from worker.demo.judge.server import MODEL, Answer, JudgeServer, completion, simulated_verdict

NO_SUCH_MODEL = {"error": {"message": "The model `sim` does not exist", "code": "model_not_found"}}
BAD_KEY = {"error": {"message": "Incorrect API key provided: sk-s3cret", "code": "invalid_api_key"}}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(401, body=BAD_KEY), "check OPENAI_API_KEY"),
        (Answer(404, body=NO_SUCH_MODEL), "check SPOTCHECK_JUDGE_MODEL and OPENAI_BASE_URL"),
    ],
)
def test_a_judge_that_refuses_us_is_exit_4_and_the_work_goes_on_later(
    tmp_path: Path, answer: Answer, said: str
) -> None:
    (tmp_path / "spotcheck.toml").write_text(TOML.replace("0.5", "1.0"))
    with JudgeServer(lambda request, headers: answer) as judge:
        environ = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url, "OPENAI_API_KEY": "sk-s3cret"}
        shell = Shell(tmp_path, environ)
        shell("ingest", "-", stdin=lines(*(a_document(f"r-{number}") for number in range(6))))
        night = shell("runs", "--json").json["runs"][0]["night"]
        tried = shell("nightly", "--date", night, "--wait")
        assert tried.code == 4, tried
        assert tried.err.count("\n") == 1, tried.err
        assert said in tried.err
        assert "6 jobs left in the ledger, spotcheck score --wait goes on from there" in tried.err
        assert "s3cret" not in tried.err + tried.out
        judge.answer = lambda request, headers: simulated_verdict(request, lambda prompt: 1.0)
        assert shell("score", "--wait").code == 0
    totals = shell("status", "--json").json["totals"]
    assert (totals["ended"], totals["scored"], totals["unscored"]) == (18, 12, 6)  # no run has a tool call


def test_a_night_of_which_no_answer_can_be_read_is_told_with_what_to_change(tmp_path: Path) -> None:
    (tmp_path / "spotcheck.toml").write_text(TOML.replace("0.5", "1.0"))

    def cut(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        return completion('{"task', tokens_out=9, finish_reason="MAX_TOKENS")

    with JudgeServer(cut) as judge:
        environ = {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url}
        shell = Shell(tmp_path, environ)
        shell("ingest", "-", stdin=lines(*(a_document(f"r-{number}") for number in range(14))))
        night = shell("runs", "--json").json["runs"][0]["night"]
        tried = shell("nightly", "--date", night, "--wait")
        line = "task_completion: all 14 runs so far are unscored(truncated), its answers are cut off; raise max_output"
        assert tried.err.count("task_completion: all ") == 1, tried.err
        assert "unscored(truncated), its answers are cut off; raise max_output_tokens" in " ".join(tried.err.split())
        assert line in " ".join(shell("status").out.split())
        told = shell("status", "--json").json
        (unread,) = told["unread"]
        assert (unread["scorer"], unread["reason"]) == ("task_completion", "truncated")
        assert (unread["runs"], unread["of_reason"]) == (14, 14)
        assert f"spotcheck show {unread['example']} --judgment task_completion --raw shows one" in tried.err
        (without,) = told["without_score"]
        assert (without["scorer"], without["state"], without["reason"]) == ("task_completion", "unscored", "truncated")
        assert without["jobs"] == 14
        assert "without a score: task_completion 14 truncated\n" in shell("status").out
        assert unread["advice"].startswith("its answers are cut off; raise max_output_tokens")
        assert line in shell("health", "--lane", "judge").out
        judge.answer = lambda request, headers: simulated_verdict(request, lambda prompt: 1.0)
        shell("ingest", "-", stdin=lines(a_document("r-15")))
        again = shell("nightly", "--date", night, "--wait")
        assert again.code == 0, again
    assert "task_completion: all " not in again.err + shell("status").out


@pytest.mark.parametrize(
    ("usage", "in_show", "in_status"),
    [
        (
            {"prompt_tokens": 4_000, "completion_tokens": 20, "total_tokens": 9_000},
            "4,000 tokens in, 5,000 out · $0.0024 · the server's counts contradict each other, and this is the most",
            "counts tokens so that the counts contradict each other: charged is the most that they can mean",
        ),
        (
            {"prompt_tokens": 4_000, "completion_tokens": 0},
            "4,000 tokens in, an unknown number out · the server did not count all tokens, so the cost is not known",
            "does not count the tokens of its answers: what they cost is not known",
        ),
    ],
)
def test_counts_that_cannot_be_right_are_told_with_what_is_charged(
    tmp_path: Path, usage: dict[str, int], in_show: str, in_status: str
) -> None:
    (tmp_path / "spotcheck.toml").write_text(TOML.replace("0.5", "1.0"))

    def miscounting(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        answer = simulated_verdict(request, lambda prompt: 1.0)
        assert isinstance(answer.body, Mapping)
        return Answer(body={**answer.body, "usage": usage})

    with JudgeServer(miscounting) as judge:
        shell = Shell(tmp_path, {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": judge.base_url})
        shell("ingest", "-", stdin=lines(a_document("r-1")))
        night = shell("runs", "--json").json["runs"][0]["night"]
        assert shell("nightly", "--date", night, "--wait").code == 0
        assert in_show in shell("show", "r-1", "--judgment", "task_completion").out
        said = shell("show", "r-1", "--judgment", "task_completion", "--json").json
        assert said["judge"]["counts"] == shell("status", "--json").json["judge"]["models"][0]["counts"]
        assert f"judge {MODEL} {in_status}" in shell("status").out


def test_an_address_that_is_none_is_a_wrong_setting(tmp_path: Path) -> None:
    shell = Shell(tmp_path, {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_BASE_URL": "nonsense"})
    shell("ingest", "-", stdin=lines(a_document("r-1")))
    night = shell("runs", "--json").json["runs"][0]["night"]
    tried = shell("nightly", "--date", night, "--wait")
    assert tried.code == 2
    assert tried.err == "spotcheck: the judge's address is not an http or https URL; check OPENAI_BASE_URL\n"
