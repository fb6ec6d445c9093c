"""Hard quotas: one contract for the bucket of a process and the one in Redis, and the queue that asks them."""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis as Client

from tests.support.judge_questions import a_question
from tests.support.servers import RestartableRedis, SilentListener
from worker.demo.judge.server import Answer, JudgeServer, completion
from worker.errors import StoreError
from worker.judge.client import ChatJudge
from worker.judge.limits.adaptive import AdaptiveLimiter
from worker.judge.limits.call_queue import MAX_QUOTA_SLEEP_S, CallQueue
from worker.judge.limits.quota import BURST_S, Bucket, Limits, OwnShare, Quota, fills, tokens_of
from worker.judge.limits.ready_calls import wanted_calls
from worker.judge.limits.redis_quota import PREFIX, RedisQuota, shared
from worker.judge.wire.chat import ChatWire
from worker.settings import Settings

Made = Callable[[Limits], Quota]
HOURLY = Limits(requests_per_minute=1 / 60)
"""So slow that nothing is earned while a test runs."""


def own(limits: Limits) -> Quota:
    return OwnShare(limits, lambda: 1)


class Never:
    """Nobody should be asked here."""

    limits = Limits()

    async def take(self, tokens: int) -> float:
        raise AssertionError("Redis did answer")

    async def settle(self, tokens: int, requests: int = 0) -> None:
        raise AssertionError("Redis did answer")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(params=["own", "redis"])
def made(request: pytest.FixtureRequest) -> Made:
    if request.param == "own":
        return own
    url = request.getfixturevalue("redis_server")
    name = f"{request.node.name} {random.random()}"
    return lambda limits: RedisQuota(url, name, limits, Never())


@pytest.fixture(scope="module")
def redis_server(redis_url: Callable[[], str]) -> str:
    return redis_url()


def use(quota: Quota, what: Callable[[Quota], Awaitable[Any]]) -> Any:
    """In an event loop, and closed there."""

    async def run() -> Any:
        try:
            return await what(quota)
        finally:
            await quota.close()

    return asyncio.run(run())


async def at_once(quota: Quota, most: int, tokens: int = 0) -> int:
    """How many may be taken without waiting, so many at most."""
    for count in range(most):
        if await quota.take(tokens) > 0:
            return count
    return most


# Every quota


def test_the_first_is_taken_and_the_next_told_how_long_to_wait(made: Made) -> None:
    async def what(quota: Quota) -> tuple[float, float, float]:
        return await quota.take(0), await quota.take(0), await quota.take(0)

    first, second, third = use(made(Limits(requests_per_minute=1)), what)
    assert first == 0
    assert 50 < third <= second < 62, "nothing was taken by asking"


def test_what_is_given_back_may_be_taken_again(made: Made) -> None:
    async def what(quota: Quota) -> list[bool]:
        told = [await quota.take(5) > 0 for _ in range(2)]
        await quota.settle(-5, -1)
        return [*told, *[await quota.take(5) > 0 for _ in range(2)]]

    assert use(made(HOURLY), what) == [False, True, False, True]


def test_tokens_go_into_debt_by_one_call_and_the_next_waits_until_it_is_paid(made: Made) -> None:
    async def what(quota: Quota) -> tuple[float, float]:
        assert await quota.take(1_000) == 0
        owed_s = await quota.take(1)
        await quota.settle(-400)
        return owed_s, await quota.take(1)

    owed_s, less_s = use(made(Limits(tokens_per_minute=60)), what)
    assert 950 < owed_s < 1_050
    assert 550 < less_s < 640


def test_an_answer_that_cost_more_than_was_taken_is_paid_for(made: Made) -> None:
    async def what(quota: Quota) -> float:
        assert await quota.take(1) == 0
        await quota.settle(600)
        return await quota.take(1)

    assert use(made(Limits(tokens_per_minute=60)), what) > 500


def test_no_more_than_half_a_second_can_be_saved_up(made: Made) -> None:
    async def what(quota: Quota) -> int:
        await quota.settle(0, -1_000)
        return await at_once(quota, 40)

    per_minute = 600.0
    assert BURST_S * per_minute / 60 <= use(made(Limits(requests_per_minute=per_minute)), what) < 40


def test_what_has_no_limit_is_not_waited_for(made: Made) -> None:
    assert use(made(Limits(requests_per_minute=60_000)), lambda quota: quota.take(10**9)) == 0
    assert use(made(Limits(tokens_per_minute=60)), lambda quota: at_once(quota, 40)) == 40


def test_a_quota_may_be_used_in_one_loop_after_another(made: Made) -> None:
    quota = made(HOURLY)
    assert use(quota, lambda quota: quota.take(0)) == 0
    assert use(quota, lambda quota: quota.take(0)) > 0


@pytest.mark.parametrize("seed", range(4))
def test_both_count_alike(redis_server: str, seed: int) -> None:
    chance = random.Random(seed)
    limits = Limits(requests_per_minute=0.05, tokens_per_minute=chance.choice([None, 1.0]))
    bucket = Bucket(limits)

    async def what(quota: Quota) -> None:
        for _ in range(60):
            tokens, requests = chance.randint(-20, 30), chance.choice([0, 0, -1])
            if chance.random() < 0.5:
                told, expected = await quota.take(abs(tokens)), bucket.take(time.monotonic(), abs(tokens))
                assert told == pytest.approx(expected, rel=0.01, abs=1.0)
            else:
                await quota.settle(tokens, requests)
                bucket.settle(time.monotonic(), tokens, requests)

    use(RedisQuota(redis_server, f"alike {seed} {time.time()}", limits, Never()), what)


# The bucket


@settings(deadline=None)
@given(st.floats(1, 10_000), st.lists(st.floats(0, 3), min_size=1, max_size=300))
def test_no_minute_holds_more_requests_than_the_quota(per_minute: float, gaps: list[float]) -> None:
    bucket = Bucket(Limits(requests_per_minute=per_minute))
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        while bucket.take(now, 0) == 0:
            taken.append(now)
    for index, since in enumerate(taken):
        within = sum(since <= at < since + 60 for at in taken[index:])
        assert within <= math.ceil(per_minute - 1e-6), "of 1.5 a minute, every second minute holds two"


@pytest.mark.parametrize("per_minute", [1, 30, 60, 500, 10_000])
def test_nearly_all_of_a_quota_may_be_used(per_minute: float) -> None:
    assert 60 * fills(Limits(requests_per_minute=per_minute))[0].per_s > 0.96 * per_minute


def test_whoever_waits_as_long_as_told_is_let_through() -> None:
    bucket, now, taken = Bucket(Limits(100, 5_000)), 0.0, 0
    while now < 600:
        if (wait_s := bucket.take(now, 80)) == 0:
            taken += 1
        now += wait_s
    assert 590 < taken < 630, "5,000 tokens a minute are 62 calls"


def test_tokens_that_were_taken_for_nothing_are_used_by_others() -> None:
    """Each call takes 1,600 and costs 500, known two seconds later: 30,000 a minute are one call a second."""
    bucket, now, calls = Bucket(Limits(tokens_per_minute=30_000)), 0.0, 0
    answers: deque[float] = deque()
    while now < 600:
        while answers and answers[0] <= now:
            bucket.settle(answers.popleft(), -1_100, 0)
        if (wait_s := bucket.take(now, 1_600)) == 0:
            calls += 1
            answers.append(now + 2)
        now += min(wait_s, MAX_QUOTA_SLEEP_S)
    assert 0.93 * 600 < calls <= 605


# A share


def test_a_share_is_what_is_left_for_one_of_those_who_work() -> None:
    sharers, clock = [4], [0.0]
    quota = OwnShare(Limits(requests_per_minute=240), lambda: sharers[0], clock=lambda: clock[0])

    async def what(_: Quota) -> list[int]:
        counts = []
        for count in (4, 4, 1, 0):
            sharers[0] = count
            clock[0] += 6
            took = 0
            for _tick in range(600):
                took += await quota.take(0) == 0
                clock[0] += 0.1
            counts.append(took)
        return counts

    first, again, alone, nobody = use(quota, what)
    assert 52 <= first <= 61
    assert 52 <= again <= 61
    assert 190 < alone < 242
    assert 190 < nobody < 242


def test_a_share_stays_what_it_was_while_the_store_does_not_answer() -> None:
    clock, is_down = [0.0], [False]

    def sharers() -> int:
        if is_down[0]:
            raise StoreError("gone")
        return 2

    quota = OwnShare(Limits(requests_per_minute=60), sharers, clock=lambda: clock[0])

    async def what(_: Quota) -> float:
        await quota.take(0)
        is_down[0] = True
        clock[0] += 10
        await quota.take(0)
        return await quota.take(0)

    assert use(quota, what) > 1.9


# In Redis


def test_all_who_ask_for_one_thing_draw_on_one_quota(redis_server: str) -> None:
    async def what(_: Quota) -> list[bool]:
        name = f"one thing {time.time()}"
        first, second, other = (RedisQuota(redis_server, what, HOURLY, Never()) for what in (name, name, f"{name}!"))
        told = [await quota.take(0) > 0 for quota in (first, second, other)]
        for quota in (first, second, other):
            await quota.close()
        return told

    assert use(Never(), what) == [False, True, False]


def test_what_is_kept_is_named_by_a_hash_and_forgotten_after_it_was_not_used(redis_server: str) -> None:
    use(RedisQuota(redis_server, "a secret address", Limits(60, 6_000), Never()), lambda quota: quota.take(10))
    with Client.from_url(redis_server, socket_timeout=5) as client:
        keys = [key for key in client.scan_iter() if key.startswith(PREFIX.encode())]
        assert keys
        assert not any(b"secret" in key for key in keys)
        for key in keys:
            assert client.pttl(key) > 0


def test_a_quota_that_nobody_used_for_long_holds_no_more_than_half_a_second(redis_server: str) -> None:
    name = f"long ago {time.time()}"
    quota = RedisQuota(redis_server, name, Limits(600, 60_000), Never())
    use(quota, lambda quota: quota.take(0))
    with Client.from_url(redis_server, socket_timeout=5) as client:
        client.hset(quota.key, "at", "0")
    assert use(quota, lambda quota: at_once(quota, 40)) < 40
    with Client.from_url(redis_server, socket_timeout=5) as client:
        client.hset(quota.key, mapping={"at": "0", "requests": "1000"})
    assert use(RedisQuota(redis_server, name, Limits(None, 6_000), Never()), lambda quota: at_once(quota, 40, 10)) < 40


def test_a_limit_that_is_new_begins_without_a_debt(redis_server: str) -> None:
    name = f"new limit {time.time()}"
    use(RedisQuota(redis_server, name, Limits(tokens_per_minute=60_000), Never()), lambda quota: at_once(quota, 30, 1))
    told = use(RedisQuota(redis_server, name, Limits(requests_per_minute=1), Never()), lambda quota: quota.take(0))
    assert told < 62


class Counting:
    """What stands in while Redis does not answer."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.taken = self.settled = 0

    async def take(self, tokens: int) -> float:
        self.taken += 1
        return 0.25

    async def settle(self, tokens: int, requests: int = 0) -> None:
        self.settled += 1

    async def close(self) -> None:
        """Nothing is open."""


def test_while_redis_is_gone_each_keeps_to_its_share_and_then_all_draw_on_one_again(
    tmp_path: Path, redis_url: object, caplog: pytest.LogCaptureFixture
) -> None:
    server, share = RestartableRedis(tmp_path), Counting()
    quota = RedisQuota(server.url, "it", Limits(1, 1), share, again_s=0.0)

    async def what(_: Quota) -> None:
        assert [await quota.take(1) for _ in range(3)] == [0.25] * 3
        await quota.settle(5)
        assert (share.taken, share.settled) == (3, 1)
        server.start()
        assert await quota.take(1) == 0
        assert await quota.take(1) > 0.25
        server.kill()
        assert await quota.take(1) == 0.25
        server.start()
        assert await quota.take(1) == 0
        assert share.taken == 4

    with caplog.at_level(logging.INFO, "spotcheck"):
        try:
            use(quota, what)
        finally:
            server.kill()
    gone = f"quota: {server.url} does not answer (ConnectionError); each process keeps to its share until it does"
    back = f"quota: {server.url} answers again; all workers draw on one quota"
    assert [record.getMessage() for record in caplog.records] == [gone, back, gone, back]


def test_a_redis_that_never_answers_is_left_alone_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    silent, share = SilentListener(), Counting()
    quota = RedisQuota(f"redis://:secret@127.0.0.1:{silent.port}/0", "it", Limits(1, 1), share)
    try:
        assert use(quota, lambda quota: at_once(quota, 1)) == 0
        knocks = silent.knocks
        assert knocks > 0
        assert use(quota, lambda quota: at_once(quota, 1)) == 0
        assert silent.knocks == knocks
    finally:
        silent.close()
    assert share.taken == 2
    assert "secret" not in caplog.text


def test_an_address_that_redis_does_not_understand_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    share = Counting()
    use(RedisQuota("redis://127.0.0.1:1/0?what=this", "it", Limits(1, 1), share), lambda quota: quota.take(0))
    assert (share.taken, len(caplog.records)) == (1, 1)


@pytest.mark.parametrize(
    ("broker", "is_shared"), [("redis://h/0", True), ("rediss://h/0", True), ("memory://", False), ("", False)]
)
def test_only_a_redis_broker_is_shared(broker: str, is_shared: bool) -> None:
    make = shared(Settings.read({"SPOTCHECK_BROKER_URL": broker} if broker else {}))
    assert (make is not None) is is_shared
    if make is not None:
        assert isinstance(make("it", Limits(1), Never()), RedisQuota)


def test_two_who_want_all_they_can_get_get_about_as_much(redis_server: str) -> None:
    name = f"fair {time.time()}"

    async def one(counts: list[int], number: int) -> None:
        quota = RedisQuota(redis_server, name, Limits(requests_per_minute=6_000), Never())
        queue = CallQueue(AdaptiveLimiter(50), quota=quota)
        while sum(counts) < 120:
            queue.answered(0.01) if await queue.enter() >= 0 else None
            counts[number] += 1
        await quota.close()

    async def run() -> list[int]:
        counts = [0, 0]
        await asyncio.gather(*(one(counts, number) for number in range(2)))
        return counts

    assert min(asyncio.run(run())) > 25


# The queue


class Told:
    """A quota that says what it is told to, and keeps what was asked."""

    def __init__(self, *waits: float, limits: Limits = HOURLY) -> None:
        self.limits = limits
        self.waits = list(waits)
        self.asked: list[int] = []
        self.back: list[tuple[int, int]] = []
        self.is_closed = False

    async def take(self, tokens: int) -> float:
        self.asked.append(tokens)
        await asyncio.sleep(0)  # as a quota that others share
        return self.waits.pop(0) if self.waits else 0.0

    async def settle(self, tokens: int, requests: int = 0) -> None:
        self.back.append((tokens, requests))

    async def close(self) -> None:
        self.is_closed = True


def test_calls_wait_in_order_for_their_part_of_a_quota() -> None:
    quota = Told(0.001, 0, 0.002, 0.001)
    order: list[int] = []

    async def call(queue: CallQueue, number: int) -> None:
        await queue.enter(10 * number)
        order.append(number)
        queue.answered(0.01)

    async def run() -> None:
        queue = CallQueue(AdaptiveLimiter(1), quota=quota)
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(call(queue, number))
        assert (queue.waiting, queue.limiter.in_flight) == (0, 0)

    asyncio.run(run())
    assert order == [0, 1, 2, 3]
    assert quota.asked == [0, 0, 10, 10, 10, 20, 30], "only the first in the queue asks"


def test_nothing_is_taken_while_the_pace_lets_nobody_through() -> None:
    quota = Told()

    async def run() -> None:
        queue = CallQueue(AdaptiveLimiter(2), quota=quota)
        queue.limiter.pause(queue.clock(), 60)
        waiting = [asyncio.create_task(queue.enter(5)) for _ in range(3)]
        await asyncio.sleep(0.02)  # long enough to ask, which nobody may
        assert quota.asked == []
        queue.cancel_waiting()
        await asyncio.wait(waiting)
        assert all(call.cancelled() for call in waiting)
        assert queue.waiting == 0

    asyncio.run(run())


def test_a_pause_that_ends_lets_those_who_wait_ask_again() -> None:
    async def run() -> None:
        queue = CallQueue(AdaptiveLimiter(1), quota=Told())
        await queue.enter(1)
        second = asyncio.create_task(queue.enter(1))
        await asyncio.sleep(0.01)  # long enough to be let in, which it may not be
        assert not second.done()
        queue.answered(0.01)
        await second

    asyncio.run(run())


def test_what_was_taken_for_somebody_who_is_gone_is_given_back() -> None:
    quota = Told()

    async def run() -> None:
        queue = CallQueue(AdaptiveLimiter(1), quota=quota)
        waiting = asyncio.create_task(queue.enter(7))
        while not quota.asked:
            await asyncio.sleep(0)  # until it asks the quota
        waiting.cancel()
        for _ in range(20):
            await asyncio.sleep(0)  # until it was told
        assert quota.back == [(-7, -1)]
        assert queue.limiter.in_flight == 0

    asyncio.run(run())


def test_a_quota_that_breaks_is_told_to_those_who_wait() -> None:
    class Broken(Told):
        async def take(self, tokens: int) -> float:
            raise RuntimeError("broken")

    async def run() -> list[Any]:
        queue = CallQueue(AdaptiveLimiter(1), quota=Broken())
        return await asyncio.gather(*(queue.enter() for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in asyncio.run(run())] == ["broken"] * 3


def test_no_more_is_made_ready_than_a_quota_lets_through_soon() -> None:
    queue = CallQueue(AdaptiveLimiter(200), quota=Told(limits=Limits(requests_per_minute=120)))
    queue.limiter.latency_s = 1.0
    assert wanted_calls(queue) == 4
    assert wanted_calls(CallQueue(AdaptiveLimiter(200), quota=Told(limits=Limits(tokens_per_minute=120)))) == 21
    assert wanted_calls(CallQueue(AdaptiveLimiter(200))) == 21


# The judge


def answer(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
    return completion('{"verdict":"pass"}', prompt="x" * 400, model="judge-2026")


def test_a_call_takes_what_it_may_cost_and_settles_what_it_did() -> None:
    quota, question = Told(), a_question(max_output_tokens=700)

    async def run() -> int:
        async with JudgeServer(answer) as server:
            judge = ChatJudge(server.base_url, None, quota=lambda model: quota if model == "judge" else None)
            reply = await judge.ask(question)
            await judge.ask(a_question(model="other"))
            await judge.close()
            return (reply.judging.input_tokens or 0) + (reply.judging.output_tokens or 0)

    used = asyncio.run(run())
    (asked,) = quota.asked
    assert 700 + 20 < asked < 700 + 400
    assert quota.back == [(used - asked, 0)]
    assert quota.is_closed


def test_an_answer_that_does_not_say_what_it_cost_is_not_settled() -> None:
    quota = Told()

    def silent(request: dict[str, Any], headers: Mapping[str, str]) -> Answer:
        told = answer(request, headers)
        assert isinstance(told.body, dict)
        return Answer(body={key: value for key, value in told.body.items() if key != "usage"})

    async def run() -> None:
        async with JudgeServer(silent) as server:
            judge = ChatJudge(server.base_url, None, quota=lambda model: quota)
            await judge.ask(a_question())
            await judge.close()

    asyncio.run(run())
    assert (len(quota.asked), quota.back) == (1, [])


def test_requests_are_counted_at_a_quarter_of_their_bytes() -> None:
    from worker.judge.capabilities import CapabilityPlan

    body, _ = ChatWire().body(a_question(), CapabilityPlan())
    assert tokens_of(body) == -(-len(body) // 4)
