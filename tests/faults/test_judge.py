"""A judge that fails in every way: exit 4 and one line at once, the jobs stay, and nothing is ever scored zero.

What the client makes of each answer is told in tests/judge; here is what becomes of the night.
"""

import itertools
import shutil
import socket
import sqlite3
import ssl
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers
from tests.support.documents import a_document, lines
from tests.support.shell import Said, Shell
from tests.support.stocked_project import RUNS, night_of
from worker.demo.judge.server import MODEL, Answer, JudgeServer, completion, refused, simulated_verdict
from worker.jobs import judge_loop
from worker.judge.limits import health
from worker.pipeline import nightly

pytestmark = pytest.mark.slow

TOML = """\
[sampling]
rate = 1
[scoring]
heuristics = ["completed"]
[judge]
timeout_s = 2
concurrency = 4
"""
KEY = "sk-s3cret"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is given up after half a second instead of twenty."""
    monkeypatch.setattr(nightly, "PATIENCE_S", 0.4)
    monkeypatch.setattr(health, "REST_S", 0.1)
    monkeypatch.setattr(health, "MAX_REST_S", 0.1)
    monkeypatch.setattr(judge_loop, "_BACKOFF_S", 0.01)


class Judged:
    """A project whose night waits for its judge."""

    def __init__(self, shell: Shell, night: str) -> None:
        (shell.folder / "spotcheck.toml").write_text(TOML)
        self.shell, self.night = shell, night
        shell.environ |= {"SPOTCHECK_JUDGE_MODEL": MODEL, "OPENAI_API_KEY": KEY}

    def nightly(self, url: str, **environ: str) -> Said:
        self.shell.environ["OPENAI_BASE_URL"] = url
        return self.shell("nightly", "--date", self.night, "--wait", **environ)

    def assert_given_up(self, url: str, *words: str) -> str:
        """Exit 4, the trouble told, and every judge's job still queued."""
        said = self.nightly(url)
        assert said.code == 4, said
        assert "Traceback" not in said.err
        last = said.err.splitlines()[-1]
        assert last.startswith("spotcheck: the judge ")
        assert last.endswith(f"{RUNS} jobs left in the ledger, spotcheck score --wait goes on from there")
        for word in words:
            assert word in last
        assert KEY not in said.out + said.err
        assert self.states() == {"completed": {"scored": RUNS}, "task_completion": {"pending": RUNS}}
        return said.err

    def assert_that_a_good_judge_ends_it(self) -> None:
        with JudgeServer(well) as judge:
            self.shell.environ["OPENAI_BASE_URL"] = judge.base_url
            done = self.shell("score", "--wait")
        assert done.code == 0, done
        assert self.states()["task_completion"] == {"scored": RUNS}
        assert self.values() == Counter({1.0: RUNS})

    def states(self) -> dict[str, dict[str, int]]:
        answer = self.shell("status", "--json").json
        assert answer["reconciles"]
        rows = answer["scorers"]
        terms = ("scored", "unscored", "failed", "shed", "pending")
        return {row["scorer"]: {term: row[term] for term in terms if row[term]} for row in rows}

    def values(self) -> Counter[float | None]:
        """How often the judge gave which value; None is no score."""
        named = (
            "SELECT value FROM score JOIN scorer ON scorer.pk = scorer_pk WHERE kind = 'judge' AND criterion IS NULL"
        )
        with closing(sqlite3.connect(self.shell.folder / "spotcheck.db")) as connection:
            return Counter(value for (value,) in connection.execute(named))


def well(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    return simulated_verdict(request, lambda prompt: 1.0)


@pytest.fixture
def judged(stocked: tuple[Shell, str]) -> Judged:
    return Judged(*stocked)


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """One night that meets every failing judge in turn; in the end a good one scores all of it, once."""
    shell = Shell(tmp_path_factory.mktemp("besieged"))
    shell("ingest", "-", stdin=lines(*(a_document(f"r-{number}") for number in range(RUNS))))
    night = Judged(shell, night_of(shell))
    yield night
    night.assert_that_a_good_judge_ends_it()


PAGE = Answer(
    body=b"<!doctype html>\n<title>\x1b[31mWelcome</title>" + b"x" * 500, headers={"content-type": "text/html"}
)
REFUSALS = {
    "401": (refused(401, f"Incorrect API key provided: {KEY}", code="invalid_api_key"), "check OPENAI_API_KEY"),
    "403": (refused(403, "not from this country"), "check OPENAI_API_KEY"),
    "404 model": (refused(404, "no such model", code="model_not_found"), "check SPOTCHECK_JUDGE_MODEL and OPENAI_BASE"),
    "404 page": (Answer(404, body=b"<html>not here</html>"), "is not at this address (404)"),
    "402": (refused(402, "Insufficient Balance"), "no quota left (402): Insufficient Balance"),
    "HTML": (PAGE, "'<!doctype html> <title> [31mWelcome</title>xxxxxxxx"),
}
OUTAGES = {
    "429 storm": (refused(429, "slow down"), "answers 429: slow down"),
    "429 storm with a date": (refused(429, "slow")._replace(headers={"retry-after": "0"}), "answers 429: slow"),
    "500": (refused(500, "oh no"), "answers 500: oh no"),
    "no JSON": (Answer(body=b"ok"), "something that is not JSON: 'ok'"),
    "no completion": (Answer(body={"status": "ok"}), 'something that is no chat completion: \'{"status":"ok"}\''),
    "half a body": (completion('{"verdict":"pass"}')._replace(cut=True), "gave no usable answer"),
    "nothing": (Answer(), "something that is not JSON: ''"),
    "endless": (Answer(body=b" " * 65_536, endless_every_s=0), "the answer is longer than 4194304 bytes"),
    "compressed": (Answer(body=b"\x1f\x8b", headers={"content-encoding": "br"}), "the answer is compressed"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_judge_that_refuses_us_is_told_at_once_and_asked_no_more(besieged: Judged, name: str) -> None:
    answer, said = REFUSALS[name]
    with JudgeServer(lambda request, headers: answer) as judge:
        err = besieged.assert_given_up(judge.base_url, said)
        assert judge.requests.count <= 2 * 4, "no more than what was in flight"
    assert err.count("\n") == 1, err
    assert "\x1b" not in err


@pytest.mark.parametrize("name", OUTAGES)
def test_a_judge_that_answers_nobody_is_told_tried_again_and_given_up(besieged: Judged, name: str) -> None:
    answer, said = OUTAGES[name]
    with JudgeServer(lambda request, headers: answer) as judge:
        err = besieged.assert_given_up(judge.base_url, said)
    told = err.splitlines()
    assert all(said in line for line in told)
    assert 1 <= len(told) <= 2, "once at the first turn, unless that was the last, and once at the end"
    assert all("; trying again for " in line for line in told[:-1])


def test_a_judge_that_words_its_trouble_anew_each_time_is_told_once(
    besieged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nightly, "PATIENCE_S", 2.0)
    number = itertools.count()
    with JudgeServer(lambda *_: refused(500, f"the database is away, request {next(number)}")) as judge:
        err = besieged.assert_given_up(judge.base_url, "answers 500: the database is away")
        assert judge.requests.count > 8, "it was tried again"
    assert err.count("; trying again for ") == 1, err
    assert err.count("\n") == 2, err


def test_one_single_job_is_not_held_against_its_run_when_nobody_is_there(shell: Shell) -> None:
    shell("ingest", "-", stdin=lines(a_document("r-0")))
    one = Judged(shell, shell("runs", "--json").json["runs"][0]["night"])
    for _ in range(2):
        said = one.nightly(f"http://127.0.0.1:{servers.free_port()}/v1")
        assert said.code == 4, said
        assert one.states()["task_completion"] == {"pending": 1}


@pytest.mark.parametrize(
    "answer", [Answer(delay_s=600), Answer(body=b" ", endless_every_s=0.02)], ids=["silence", "drip"]
)
def test_silence_and_an_answer_that_drips_for_ever_end_at_the_timeout(besieged: Judged, answer: Answer) -> None:
    toml = besieged.shell.folder / "spotcheck.toml"
    toml.write_text(TOML.replace("timeout_s = 2", "timeout_s = 0.2"))
    with JudgeServer(lambda request, headers: answer) as judge:
        besieged.assert_given_up(judge.base_url, "gave no answer within 0.2 s")
    toml.write_text(TOML)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/v1", "https://127.0.0.1:{port}/v1"])
def test_a_port_where_nobody_listens(besieged: Judged, url: str) -> None:
    besieged.assert_given_up(url.format(port=servers.free_port()), "ConnectionRefusedError")


@contextmanager
def rude_server(treat: Callable[[socket.socket], None]) -> Iterator[int]:
    """Takes every connection and treats it like this."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with closing(connection):
                connection.settimeout(5)
                treat(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def reset(connection: socket.socket) -> None:
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def speak_plainly(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def greet(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(b"220 smtp.example.org ESMTP\r\n")


@pytest.mark.parametrize("treat", [reset, greet])
def test_a_server_that_hangs_up_or_speaks_something_else(
    besieged: Judged, treat: Callable[[socket.socket], None]
) -> None:
    with rude_server(treat) as port:
        besieged.assert_given_up(f"http://127.0.0.1:{port}/v1", "gave no usable answer")


def test_https_to_a_server_that_speaks_no_tls_is_a_wrong_address(besieged: Judged) -> None:
    with rude_server(speak_plainly) as port:
        besieged.assert_given_up(f"https://127.0.0.1:{port}/v1", "speaks no TLS", "check OPENAI_BASE_URL")


def test_a_certificate_that_nobody_vouches_for_is_not_believed(besieged: Judged, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    heard: list[bytes] = []

    def shake_hands(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as talking:
                heard.append(talking.recv(1_000))
        except OSError:
            return

    with rude_server(shake_hands) as port:
        besieged.assert_given_up(f"https://127.0.0.1:{port}/v1", "CERTIFICATE_VERIFY_FAILED", "SSL_CERT_FILE")
    assert not any(heard), "neither key nor question may reach a stranger"


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_is_never_followed_with_the_key(besieged: Judged, status: int) -> None:
    with JudgeServer(well) as elsewhere:
        sent_away = Answer(status, headers={"location": f"{elsewhere.base_url}/chat/completions"})
        with JudgeServer(lambda request, headers: sent_away) as judge:
            besieged.assert_given_up(judge.base_url, f"the judge is not at {judge.base_url} ({status})")
        assert elsewhere.requests.count == 0


def test_the_answer_to_another_question_is_unscored_and_never_a_zero(judged: Judged) -> None:
    other = '{"criteria": [{"id": "is_polite", "verdict": "fail", "evidence": []}], "summary": "another question"}'
    with JudgeServer(lambda request, headers: completion(other)) as judge:
        said = judged.nightly(judge.base_url)
    assert said.code == 0, said
    assert judged.states()["task_completion"] == {"unscored": RUNS}
    assert judged.values() == Counter({None: RUNS})
    story = judged.shell("explain", "r-1", "--json").json["decisions"]
    assert next(decision["reason"] for decision in story if decision["scorer"] == "task_completion")


def test_a_request_that_is_refused_for_itself_is_unscored_with_the_reason(judged: Judged) -> None:
    with JudgeServer(
        lambda request, headers: refused(400, "the response was filtered", code="content_filter")
    ) as judge:
        assert judged.nightly(judge.base_url).code == 0
    assert judged.states()["task_completion"] == {"unscored": RUNS}
    assert judged.values() == Counter({None: RUNS})


class Falling:
    """Answers well for a while, then in another way, or every second time."""

    def __init__(self, then: Answer, *, well_for: int = 0, is_alternating: bool = False) -> None:
        self._then, self._well_for, self._is_alternating = then, well_for, is_alternating
        self._count = 0

    def __call__(self, request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        self._count += 1
        is_well = self._count % 2 == 0 if self._is_alternating else self._count <= self._well_for
        return well(request, headers) if is_well else self._then


def test_a_judge_that_is_refused_in_the_middle_keeps_what_it_has_said(judged: Judged) -> None:
    with JudgeServer(Falling(refused(401, "expired"), well_for=5)) as judge:
        said = judged.nightly(judge.base_url)
    assert said.code == 4, said
    states = judged.states()["task_completion"]
    assert states["scored"] >= 1
    assert states["scored"] + states["pending"] == RUNS
    judged.assert_that_a_good_judge_ends_it()


@pytest.mark.parametrize("trouble", [refused(429, "slow down"), refused(503, "busy"), PAGE])
def test_trouble_every_second_time_costs_no_run_its_score(judged: Judged, trouble: Answer) -> None:
    falling = Falling(trouble, is_alternating=True)
    falling._count = 1  # the first is well: the address is right
    with JudgeServer(falling) as judge:
        said = judged.nightly(judge.base_url)
    assert said.code == 0, said
    assert judged.states()["task_completion"] == {"scored": RUNS}
    assert judged.values() == Counter({1.0: RUNS})
