"""Memory that does not grow with what comes from outside; measured in a child, whose peak nothing else raises."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.support.documents import a_document, lines
from tests.support.shell import Shell
from tests.support.stocked_project import ids

MOST = 120_000_000
"""A line may have 16 MB and is held a few times over while it is read and kept; far from a huge."""
CHILD = """
import json, resource, sys
from tests.support.shell import Shell
from pathlib import Path

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

shell = Shell(Path())
assert shell("ingest", "small.jsonl").code == 0
said = []
for name in sys.argv[1:]:
    before = peak()
    answer = shell("ingest", name, "--json")
    said.append({"code": answer.code, "err": answer.err, "grown": peak() - before, **answer.json})
print(json.dumps(said))
"""


def test_lines_of_any_length_are_refused_in_flat_memory_and_the_rest_is_taken(shell: Shell) -> None:
    folder = shell.folder
    (folder / "small.jsonl").write_bytes(lines(a_document("small")))
    (folder / "spotcheck.toml").write_text("[intake]\nmax_line_bytes = 16000000\n")
    with (folder / "fifty.jsonl").open("wb") as stream:
        stream.write(lines(a_document("before")) + lines(a_document("long", output="x" * 50_000_000)))
        stream.write(lines(a_document("after")))
    with (folder / "huge.jsonl").open("wb") as stream:
        stream.write(lines(a_document("first")))
        stream.truncate(200_000_000)  # NUL bytes without the end of a line; they take no room on the disk
    with (folder / "broken.jsonl").open("wb") as stream:
        for _ in range(20):
            stream.write(b'{"broken": "' + b"x" * 5_000_000 + b"\n")
    (folder / "many.jsonl").write_bytes(
        b'{"run_id": "r", "x": NaN, "status": "running", "pad": "' + b"y" * 60 + b'"}\n'
    )
    (folder / "many.jsonl").write_bytes((folder / "many.jsonl").read_bytes() * 200_000)
    names = ("fifty", "huge", "broken", "many")
    environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", CHILD, *(f"{name}.jsonl" for name in names)]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    fifty, huge, broken, many = orjson.loads(done.stdout.splitlines()[-1])
    for said in (fifty, huge):
        assert said["rejected"] == 1
        assert "longer than 16,000,000 bytes (setting intake.max_line_bytes)" in said["err"]
    assert (fifty["accepted"], huge["accepted"], broken["rejected"]) == (2, 1, 20)
    assert fifty["grown"] < MOST, fifty
    assert huge["grown"] < 20_000_000, "no more than the fifty megabytes before it"
    assert broken["grown"] < 80_000_000, "five megabytes twenty times are not held at once"
    assert (many["rejected"], len(many["reasons"])) == (200_000, 1)
    assert many["grown"] < 10_000_000, "two hundred thousand bad lines are counted, not kept"
    assert ids(shell) == ["after", "before", "first", "small"]
    assert (folder / "huge.jsonl.rejected.jsonl").stat().st_size < 2_000, "of such a line the beginning is kept"
    assert (folder / "many.jsonl.rejected.jsonl").stat().st_size < 6_000_000


JUDGE_CHILD = """
import asyncio, resource, sys
from worker.demo.judge.server import Answer, JudgeServer, completion
from worker.errors import JudgeUnavailable
from worker.judge.client import ChatJudge
from tests.support.judge_questions import a_question

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

async def main():
    answers = [completion("{}")]
    async with JudgeServer(lambda request, headers: answers[0]) as server:
        judge = ChatJudge(server.base_url, None, concurrency=8)
        await judge.ask(a_question())
        before = peak()
        answers[0] = Answer(body=b" " * 65536, endless_every_s=0)
        ends = await asyncio.gather(*(judge.ask(a_question()) for _ in range(24)), return_exceptions=True)
        assert all(isinstance(end, JudgeUnavailable) for end in ends), ends
        print(peak() - before)
        await judge.close()

asyncio.run(main())
"""


def test_answers_without_end_are_cut_in_bounded_memory(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", JUDGE_CHILD],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()[-2_000:]
    assert int(done.stdout) < 150_000_000, "eight calls in flight hold four megabytes each, a few times over"


@pytest.mark.parametrize("size", [1_000, 15_999_000])
def test_the_longest_line_that_is_allowed_is_taken_whole_up_to_the_text_limit(shell: Shell, size: int) -> None:
    (shell.folder / "runs.jsonl").write_bytes(lines(a_document("long", output="x" * size)))
    assert shell("ingest", "runs.jsonl", "--strict").code == 0
    run = shell("show", "long", "--json").json
    assert len(run["output"]) == min(size, 1_000_000)
    assert run["content"] == ("full" if size <= 1_000_000 else "partial")
