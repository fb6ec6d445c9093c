"""A judge's quota from the settings to each call, whoever the quota is shared with."""

from collections.abc import Callable

from tests.support.project import MONDAY, Installation, document, draw_nights, ingest, states
from worker.jobs.processor import JobProcessor
from worker.jobs.queue import JobQueue
from worker.jobs.quota_share import quota_of
from worker.judge.limits.quota import Limits, OwnShare, Quota

PLAIN = "[sampling]\nrate = 1.0\n[scoring]\nheuristics = []\n"
QUOTA = "[judge.quota]\nrequests_per_minute = 6000\ntokens_per_minute = 9000000\n"


class Kept:
    """A quota without an end that keeps what was asked of it."""

    def __init__(self, what: str, limits: Limits, own: Quota) -> None:
        self.what, self.limits, self.own = what, limits, own
        self.taken: list[int] = []
        self.settled: list[int] = []
        self.is_closed = False

    async def take(self, tokens: int) -> float:
        self.taken.append(tokens)
        return 0.0

    async def settle(self, tokens: int, requests: int = 0) -> None:
        self.settled.append(tokens)

    async def close(self) -> None:
        self.is_closed = True


def sharing() -> tuple[list[Kept], Callable[[str, Limits, Quota], Quota]]:
    made: list[Kept] = []

    def share(what: str, limits: Limits, own: Quota) -> Quota:
        made.append(Kept(what, limits, own))
        return made[-1]

    return made, share


def test_every_call_takes_its_part_of_the_quota_and_settles_what_it_cost(installation: Installation) -> None:
    project = installation.project(PLAIN + QUOTA)
    ingest(project, [document(f"case-{number}") for number in range(12)])
    draw_nights(project, [MONDAY])
    made, share = sharing()
    with JobProcessor(project, share=share) as processor:
        processor.drain("judge")
    assert states(project) == {"scored": 12}
    (quota,) = made
    assert quota.limits == Limits(6000, 9_000_000)
    assert len(quota.taken) == len(quota.settled) == len(installation.asked) == 12
    assert all(0 < -back < taken for taken, back in zip(sorted(quota.taken), sorted(quota.settled), strict=True))
    assert quota.is_closed


def test_two_processes_name_a_model_at_a_server_alike_and_the_address_is_not_told(installation: Installation) -> None:
    (first, share), (second, share_too) = sharing(), sharing()
    quota_of(installation.project(PLAIN + QUOTA), share)("one")
    for model in ("one", "two"):
        quota_of(installation.project(QUOTA), share_too)(model)
    quota_of(installation.project(QUOTA, OPENAI_BASE_URL="http://elsewhere/v1"), share_too)("one")
    assert first[0].what == second[0].what
    assert len({share.what for share in second}) == 3
    assert not any("127.0.0.1" in share.what for share in (*first, *second))


def test_without_a_shared_quota_each_keeps_to_its_part_and_without_any_nobody_is_asked(
    installation: Installation,
) -> None:
    quota = quota_of(installation.project(PLAIN + QUOTA), None)("one")
    assert isinstance(quota, OwnShare)
    assert quota.limits == Limits(6000, 9_000_000)
    assert quota_of(installation.project(PLAIN), sharing()[1])("one") is None


def test_the_part_of_a_process_is_that_of_one_of_those_who_hold_jobs(installation: Installation) -> None:
    project = installation.project(PLAIN + QUOTA)
    ingest(project, [document(f"case-{number}") for number in range(4)])
    draw_nights(project, [MONDAY])
    quota = quota_of(project, None)("one")
    assert isinstance(quota, OwnShare)
    assert quota.processes() == 0
    lanes = [JobQueue(project, "judge") for _ in range(3)]
    for lane in lanes:
        lane.claim(1)
    assert quota.processes() == 3
