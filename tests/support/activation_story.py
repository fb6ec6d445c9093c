"""Nights that are drawn while a rubric rises, goes back and forth and is backfilled, by processes that are killed.

What must be true afterwards, however it went, stands in `activation_checks`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

from sqlalchemy import select, text

from tests.support.counting_judge import CountingJudge, changes
from tests.support.killing import PATIENCE_S, Killing, Meanwhile
from tests.support.processes import database, environment, until
from tests.support.project import document, ingest
from tests.support.rubrics import changed
from worker.core.rubric.version import precedence
from worker.demo.judge.server import JudgeServer
from worker.project.project import Project
from worker.settings import Settings
from worker.store import meta
from worker.store.rubrics import revisions, texts
from worker.store.tables import EnrolmentRow, ScorerRow, core

NAME = "task_completion"
VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
RUNS, CONCURRENCY = 12, 4
HELD = 2 * CONCURRENCY + 1 + 50
"""Judge jobs that a process may hold: calls under way, as many again ready, and answers not stored yet."""
TOML = f"""\
[sampling]
rate = 1.0
lookback_nights = 16
[scoring]
heuristics = ["answer_present", "completed"]
max_attempts = 100
lease_s = 600
[judge]
concurrency = {CONCURRENCY}
"""
"""Leases do not run out by themselves, however slow the machine: `Killing` ends those of the dead."""
enrolment, scorer = core(EnrolmentRow), core(ScorerRow)


class ActivationStory:
    """One project, one judge, one rubric, and what people and clocks do with them."""

    def __init__(self, folder: Path, urls: Mapping[str, str], server: JudgeServer, chance: Random, nights: int) -> None:
        self.folder, self.chance, self.server = folder, chance, server
        self.judge = CountingJudge()
        server.answer = self.judge
        (folder / "spotcheck.toml").write_text(TOML, encoding="utf-8")
        environ = environment(server.base_url, urls)
        here = environ | {"SPOTCHECK_DATABASE_URL": database(folder, environ)}
        self.project = Project(Settings.read(here, TOML)).open()
        self.killing = Killing(self.project, folder, environ, self.judge, chance, requests=RUNS, held=HELD)
        last = self.project.nights.last_over(datetime.now(UTC)) - timedelta(days=1)
        self.nights = [last - timedelta(days=days) for days in reversed(range(nights))]
        with self.project.store.write() as connection:  # beat, where there is one, draws them too
            meta.set_meta_once(connection, "start_night", self.nights[0].isoformat())
        self.file = ""
        self.raise_file()

    def close(self) -> None:
        if self.killing.beside is not None:
            self.killing.beside.kill()
        self.project.store.close()

    def raise_file(self) -> None:
        """The rubric's file gets the next version, with another text; nothing where it has the last."""
        place = VERSIONS.index(self.file) + 1 if self.file else 0
        if place == len(VERSIONS):
            return
        self.file = VERSIONS[place]
        made = Path(changed(self.folder / f"edition-{place}", changes(self.file)))
        prompts = self.folder / "prompts"
        if not prompts.exists():
            made.rename(prompts)
            return
        name = f"{NAME}.rubric.md.j2"
        (made / name).replace(prompts / name)  # as editors and deployments do: nobody reads half a file

    def take_in(self, night: date) -> None:
        """The runs of a night arrive."""
        ingest(self.project, (document(f"case-{night:%m%d}-{number:02}", night) for number in range(RUNS)))

    def nightly(self, night: date, *, deaths: int, meanwhile: Sequence[Meanwhile] = ()) -> None:
        """`spotcheck nightly --date D --wait`; it draws with what is active as it begins, or becomes so meanwhile."""
        may_be: set[str] = set()
        promoted: list[texts.Promotion] = []
        is_checked = self.killing.beside is not None  # which may have drawn it at any time

        def begins() -> None:
            may_be.clear()
            may_be.add(self.next_version())
            promoted[:] = self.promotions()

        def ended() -> None:
            nonlocal is_checked
            drawn_with = self.versions_by_night().get(night, set())
            may_be.update(one.version for one in self.promotions()[len(promoted) :])
            if drawn_with and not is_checked:
                assert drawn_with <= may_be
                is_checked = True

        command = ("nightly", "--date", str(night), "--wait", "--json")
        self.killing.until_done(*command, deaths=deaths, meanwhile=meanwhile, begins=begins, ended=ended)

    def nightly_at_once(self, nights: Sequence[date]) -> None:
        """Processes that draw a night each, PostgreSQL only: each has seen what is active before any may change it."""
        with self.project.store.write() as connection:
            revisions.lock(connection)
            commands = [self.killing.start(("nightly", "--date", str(night), "--wait")) for night in nights]
            until(lambda: self._waiting_for_revisions() == len(nights), "all draws have come so far", PATIENCE_S)
        codes = [command.code(PATIENCE_S) for command in commands]
        assert not any(codes), self.killing.said()

    def _waiting_for_revisions(self) -> int:
        statement = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'revision'::regclass"
        with self.project.store.read() as connection:
            return int(connection.execute(text(statement)).scalar_one())

    def promote(self, *, deaths: int, during: int = 0) -> None:
        """`spotcheck rubric promote` of some version that was active before, or of the file's."""
        before = self.promotions()
        others = {*(one.version for one in before), self.file} - {one.version for one in before[-1:]}
        version = self.chance.choice(sorted(others) or [self.file])
        command = ("rubric", "promote", NAME, "--version", version, "--unproved", "a try")
        self.killing.until_done(*command, deaths=deaths, writes=3, during=during)
        if self.killing.beside is None and not during:
            assert self.promotions()[-1].version == version
            assert self.scoring_version() in (None, version)

    def backfill(self, *, deaths: int, during: int = 0, meanwhile: Sequence[Meanwhile] = ()) -> None:
        """`spotcheck backfill` of some nights; beside another command it only queues, for that one may be killed."""
        first, last = sorted(self.chance.choices(range(len(self.nights)), k=2))
        bounds = ("--since", str(self.nights[first]), "--until", str(self.nights[last]))
        command = ("backfill", *bounds, "--yes", "--json", *(() if during else ("--wait",)))
        drawn = set(self.versions_by_night()) & set(self.nights[first : last + 1])
        before = self.promotions()
        self.killing.until_done(*command, deaths=deaths, writes=20, during=during, meanwhile=meanwhile)
        if self.killing.beside is None and len(self.promotions()) == len(before):  # else another one was active before
            found = self.versions_by_night("production", "backfill")
            assert all(before[-1].version in found[night] for night in drawn)

    def end(self) -> None:
        """All that is open is scored, and nothing runs any more."""
        if self.killing.beside is not None:
            self.killing.beside.end()
        self.killing.until_done("score", "--wait", deaths=0)
        self.killing.until_done("nightly", "--wait", deaths=0)

    def scoring_version(self) -> str | None:
        """The version of the newest revision; None before the first draw."""
        with self.project.store.read() as connection:
            active = revisions.active_scorers(connection)
        return next((entry.key.version for entry in active if entry.key.name == NAME), None)

    def promotions(self) -> list[texts.Promotion]:
        with self.project.store.read() as connection:
            return texts.promotions(connection, NAME)

    def next_version(self) -> str:
        """With which version a draw that begins now draws: the file's where it is higher than all before."""
        before = [one.version for one in self.promotions()]
        if not before or all(precedence(self.file) > precedence(version) for version in before):
            return self.file
        return before[-1]

    def versions_by_night(self, *purposes: str) -> dict[date, set[str]]:
        """The versions of the rubric that are enrolled for each night: by its draw, or for other purposes."""
        statement = (
            select(enrolment.c.night, scorer.c.version)
            .join(scorer, scorer.c.pk == enrolment.c.scorer_pk)
            .where(scorer.c.name == NAME, enrolment.c.purpose.in_(purposes or ("production",)))
        )
        found: dict[date, set[str]] = defaultdict(set)
        with self.project.store.read() as connection:
            for night, version in connection.execute(statement):
                found[night].add(version)
        return found
