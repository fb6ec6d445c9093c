"""Whether a judge answers: closed, open, half-open, and whose fault an unanswered call was; in made-up time."""

from worker.judge.limits.adaptive import AdaptiveLimiter
from worker.judge.limits.call_queue import CallQueue
from worker.judge.limits.health import MAX_REST_S, JudgeHealth
from worker.judge.limits.ready_calls import held_calls, wanted_calls


def test_a_judge_that_answers_nobody_rests_and_is_asked_by_one_call_until_one_is_answered() -> None:
    now = [0.0]
    queue = CallQueue(AdaptiveLimiter(16), clock=lambda: now[0])
    rests = []
    for _ in range(6):
        queue.limiter.begins(now[0])
        queue.failed()
        rests.append(queue.health.open("answers 500"))
        opened_at, now[0] = now[0], now[0] + rests[-1] - 0.01
        assert (queue.free_slots(), queue.health.state, wanted_calls(queue)) == (0, "open", 0)
        now[0] = opened_at + rests[-1]
        assert (queue.free_slots(), queue.health.state, held_calls(queue)) == (1, "half-open", 1)
    assert rests == [5, 10, 20, 40, MAX_REST_S, MAX_REST_S]
    queue.limiter.begins(now[0])
    assert queue.free_slots() == 0
    queue.answered(0.3)
    assert queue.free_slots() > 1
    assert (queue.health.state, queue.health.trouble) == ("closed", None)
    assert queue.health.open("answers 500 again") == 5  # it begins anew


def test_opening_what_is_open_makes_no_rest_longer() -> None:
    now = [0.0]
    health = JudgeHealth(16, clock=lambda: now[0])
    assert [health.open("down") for _ in range(3)] == [5, 5, 5]
    health.force_open("refuses the key")
    assert (health.left_alone_s, health.trouble) == (5, "refuses the key")
    now[0] = 5.0
    assert health.open("down") == 10


def test_whose_fault_unanswered_calls_were() -> None:
    health = JudgeHealth(max_in_flight=20)
    own, everybodys = False, True
    assert not health.is_down([], is_idle=True)
    assert not health.is_down([own] * 2, is_idle=True), "two runs that no server survives"
    assert health.is_down([own] * 3, is_idle=True)
    assert health.is_down([everybodys], is_idle=True), "nobody listens there"
    assert not health.is_down([everybodys] * 20, is_idle=False), "others may still be answered"
    assert health.is_down([own] * 21, is_idle=False)
    health.open("answers 500")
    assert health.is_down([own], is_idle=False), "the trial call of a judge that is down"


def test_silence_counts_from_the_first_question_beyond_the_rest_that_was_granted() -> None:
    now = [100.0]
    health = JudgeHealth(4, clock=lambda: now[0])
    health.begins()
    now[0] += 3
    health.unanswered()
    assert health.silent_s() is None, "one unanswered call is no outage yet"
    assert health.open("answers 503", wait_s=30.0) == 30
    now[0] += 40
    assert health.silent_s() == 3 + 40 - 30
    health.answered()
    assert health.silent_s() is None


def test_so_many_requests_without_an_answer_that_the_next_gets_none() -> None:
    health = JudgeHealth(max_in_flight=4)
    for _ in range(8):
        health.unanswered()
    assert not health.is_silent
    health.unanswered()
    assert health.is_silent
    health.answered()
    assert not health.is_silent
