"""The judge client: one question, one answer, from any OpenAI-compatible server."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from pydantic import SecretStr

from worker.core.judging.reask import reask_messages
from worker.errors import JudgeError, JudgeRefusesUs, JudgeUnavailable, VerdictUnreadable
from worker.judge.address import SHOWN_LIMIT
from worker.judge.capabilities import (
    LIMITS,
    RUNGS,
    CapabilityPlan,
    easier,
    fails_form,
    ignores_form,
    is_paid_silence,
    misses_form,
    plan_key,
    refuses_form,
)
from worker.judge.failures import (
    Complaint,
    error_for,
    error_in,
    read_complaint,
    says_tier_is_full,
    status_of,
)
from worker.judge.limits.adaptive import AdaptiveLimiter
from worker.judge.limits.call_queue import CallQueue
from worker.judge.limits.quota import Quota, tokens_of
from worker.judge.reask import needs_repair
from worker.judge.transport import HttpResponse, JudgeTransport
from worker.judge.waits import retry_after_s, used_up_s
from worker.judge.wire.cut_prompt import without_cut
from worker.judge.wire.protocol import NoCompletion, Price, Wire, paid_usd
from worker.judge.wire.registry import WIRES
from worker.judge.wire.response_body import parsed
from worker.records import Question, Reply

MAX_REQUESTS = 12
"""Requests for one question while it is put in ever simpler forms: three forms and a handful of parameters."""

SILENCES = 3
"""Empty answers of a server that has given no other: one may be a slip, from this one on the form is to blame."""


class _Refused(NamedTuple):
    """What a server said instead of an answer, and what to raise for it."""

    complaint: Complaint
    error: JudgeError
    is_tier_full: bool = False
    """Only the cheaper tier has no room: the same question may be asked at the full price at once."""


class ChatJudge:
    """Asks questions, each over the backend it names; satisfies `Ask`.

    One object serves one event loop at a time, and is closed in it. What the server was found to support is kept per
    model and backend for the life of the object. Nothing is asked again here after a failure; see `judge.retrying`.

    Example:
        >>> ChatJudge("http://127.0.0.1:8000/v1", None)
        ChatJudge('http://127.0.0.1:8000/v1')
    """

    def __init__(
        self,
        base_url: str | None,
        api_key: SecretStr | None,
        *,
        timeout_s: float = 60.0,
        concurrency: int = 16,
        price: Price | None = None,
        user_agent: str = "spotcheck",
        remembered: Mapping[str, CapabilityPlan] = MappingProxyType({}),
        on_plan: Callable[[str, CapabilityPlan], None] = lambda model, plan: None,
        quota: Callable[[str], Quota | None] = lambda model: None,
    ) -> None:
        """Prepare a judge; nothing is connected or imported yet.

        Args:
            base_url: Up to and including `/v1`; None is the openai package's default.
            api_key: None sends no key, as local servers want it.
            timeout_s: For one request from first to last byte, queueing for a free slot not included.
            concurrency: Requests under way at the same time; the others wait.
            price: What a call costs, in US dollars; None leaves the cost unknown.
            user_agent: The User-Agent header.
            remembered: What the server was found to support, by `plan_key`, when it was last asked.
            on_plan: Called with the key and the plan when a model is found to support something new.
            quota: What a model may be asked by all workers together; None without such a limit. Closed with the judge.

        Raises:
            SettingsError: The address is no http(s) URL or carries a password, or the key cannot stand in a header.
        """
        self._transport = JudgeTransport(
            base_url, api_key, timeout_s=timeout_s, concurrency=concurrency, user_agent=user_agent
        )
        self._price = price
        self._plans: dict[str, CapabilityPlan] = {}
        self._remembered, self._on_plan, self._quota = remembered, on_plan, quota
        self._queues: dict[str, CallQueue] = {}
        self._descents: dict[str, asyncio.Lock] = {}
        self._silences: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"ChatJudge({self._transport.shown!r})"

    async def ask(self, question: Question) -> Reply:
        """Puts one question to the judge, and once more where it may be repaired.

        Args:
            question: Messages, schema and parameters, ready to send.

        Returns:
            The answer unread: its content may be anything or None, its tokens and cost unknown. What was paid on the
            way to it is in its cost.

        Raises:
            JudgeUnavailable: No usable answer came; try again later, after `retry_after_s` where it is known.
            JudgeRefusesUs: Key, quota, address or model are refused; a person has to act.
            VerdictUnreadable: This question will never be answered: `too_long`, `content_filter` or `bad_request`.
        """
        self._transport.connect()
        reply = await self._answer_to(question)
        if not question.may_repair or not needs_repair(reply, question.answer_schema):
            return reply
        again = question.model_copy(update={"messages": reask_messages(question.messages, reply.content or "")})
        try:
            repaired = _with_costs_of(await self._answer_to(again), [reply])
        except JudgeError as error:  # the first one is paid for, and from the start it would be paid for twice
            cost_usd = reply.judging.cost_usd
            paid = {"cost_usd": None if cost_usd is None else cost_usd + error.paid_usd}
            return reply.model_copy(update={"judging": reply.judging.model_copy(update=paid)})
        return repaired.model_copy(update={"first_answer": reply.content})

    async def _answer_to(self, question: Question) -> Reply:
        """Asks, and counts what answers cost that led to none."""
        ignored: list[Reply] = []
        try:
            return await self._asked(question, ignored)
        except JudgeError as error:
            error.paid_usd += sum(reply.judging.cost_usd or 0.0 for reply in ignored)
            raise

    async def _asked(self, question: Question, ignored: list[Reply]) -> Reply:
        """Asks, and in a simpler form as often as the server refuses or ignores one; answers in vain are added."""
        key, queue, wire = plan_key(question), self.queue(question.model), WIRES[question.backend]
        plan = self._plans.get(key) or self._remembered.get(key) or self._first_plan(question)
        strictest: int | None = None
        """The form of the first answer in prose."""
        is_slip = False
        """The model did not keep to a form that the server knows."""
        async with AsyncExitStack() as descent:
            for _ in range(MAX_REQUESTS):
                body, effective = wire.body(question, plan)
                outcome = await self._in_turn(queue, question, body, effective)
                if isinstance(outcome, Reply):
                    if is_paid_silence(outcome) and key not in self._plans:
                        self._silences[key] += 1
                        if self._silences[key] < SILENCES:
                            return _with_costs_of(outcome, ignored)
                    elif not ignores_form(outcome) and (
                        # of a known model one such answer is a slip; checking every answer would also cost CPU time
                        self._is_known(key) or not misses_form(outcome, question.answer_schema)
                    ):
                        if not (is_slip and self._is_known(key)):
                            self._keep(key, plan._replace(is_fruitless=False, counts=outcome.judging.counts))
                        return _with_costs_of(outcome, ignored)
                    strictest = plan.rung if strictest is None else strictest
                    lower = await self._lower(key, plan, descent, is_first=not ignored)
                    if lower is None:  # prose in every form: no form is to blame, and the strictest is kept
                        self._keep(key, plan._replace(rung=strictest, is_fruitless=True))
                        return _with_costs_of(outcome, ignored)
                    ignored.append(outcome)
                    plan = lower
                    continue
                error = outcome.error
                if outcome.is_tier_full:
                    question = question.model_copy(update={"service_tier": "default"})
                    continue
                next_plan = easier(plan, outcome.complaint, effective) if _is_bad_request(error) else None
                if next_plan is None:
                    break
                is_slip |= fails_form(outcome.complaint)
                plan = next_plan
        raise error

    def _is_known(self, key: str) -> bool:
        return key in self._plans or key in self._remembered

    async def _lower(
        self, key: str, plan: CapabilityPlan, descent: AsyncExitStack, *, is_first: bool
    ) -> CapabilityPlan | None:
        """The simpler form to ask in after prose; None where there is none, or no form is known to help.

        Of the questions that are answered in prose at the same time, one goes down the forms, and the others wait for
        what it finds: each answer on the way is paid for.
        """
        if is_first and key not in self._plans:
            await descent.enter_async_context(self._descents.setdefault(key, asyncio.Lock()))
        known = self._plans.get(key)
        if known is None and (before := self._remembered.get(key)) is not None and before.is_fruitless:
            known = before  # another process has paid for every form this week
        if known is None:
            return plan.lower()
        await descent.aclose()
        return known if known.rung > plan.rung else None

    def _keep(self, key: str, plan: CapabilityPlan) -> None:
        """Remembers a plan that led to an answer; one that led nowhere says nothing about the server."""
        before = self._plans.get(key)
        self._plans[key] = plan if before is None else plan.joined(before)
        if self._plans[key] != before and self._plans[key] != self._remembered.get(key):
            # beside the loop: it may write to a store that is busy
            asyncio.get_running_loop().run_in_executor(None, self._on_plan, key, self._plans[key])

    def plan(self, model: str) -> CapabilityPlan | None:
        """What a model is known to support; None before its first answer."""
        return self._plans.get(model) or self._remembered.get(model)

    def queue(self, model: str) -> CallQueue:
        """The queue of calls to a model, with its limiter and its health."""
        if model not in self._queues:
            self._queues[model] = CallQueue(AdaptiveLimiter(self._transport.concurrency), quota=self._quota(model))
        return self._queues[model]

    async def _in_turn(
        self, queue: CallQueue, question: Question, body: bytes, effective: Mapping[str, Any]
    ) -> "Reply | _Refused":
        """Sends one request when its turn has come, and tells the queue how it ended."""
        reserved = tokens_of(body) + question.max_output_tokens
        window = await queue.enter(reserved)
        try:
            response = await self._transport.post(WIRES[question.backend].path, body, is_proven=bool(self._plans))
            if (wait_s := used_up_s(response.headers)) is not None:
                queue.limiter.pause(queue.clock(), wait_s)
            outcome = self._outcome(question, response, effective)
        except JudgeUnavailable:
            queue.failed()
            raise
        except JudgeRefusesUs as error:
            queue.force_open(str(error))
            raise
        except BaseException:  # cancelled too: its place in the queue is free again
            queue.abandoned()
            raise
        match outcome:
            case _Refused(is_tier_full=True):
                queue.abandoned()  # says nothing about how fast others may be asked
            case _Refused(error=JudgeRefusesUs() as refusal):
                queue.force_open(str(refusal))
            case _Refused(error=JudgeUnavailable(is_refusal=True, retry_after_s=after_s)):
                queue.refused(window, after_s, is_used_up=wait_s is not None)
            case _Refused(error=JudgeUnavailable()):
                queue.failed()
            case _:
                queue.answered(response.latency_ms / 1000)
        if queue.quota is not None and isinstance(outcome, Reply) and (used := _used(outcome)) is not None:
            await queue.quota.settle(used - reserved)
        return outcome

    def _outcome(self, question: Question, response: HttpResponse, effective: Mapping[str, Any]) -> "Reply | _Refused":
        if response.status == 200:
            return self._read(question, response, effective)
        complaint = read_complaint(response.raw)
        error = self._error(question.model, response, complaint)
        # some say with a 404 or a 500 that they do not know a form: that is neither a wrong address nor an outage
        is_no_bad_request = response.status == 404 or (response.status >= 500 and not _is_refusal(error))
        if is_no_bad_request and refuses_form(effective.get("response_format"), complaint):
            error = VerdictUnreadable(str(error), reason="bad_request")
        if isinstance(error, JudgeUnavailable):
            error.is_for_all |= not self._plans  # a server that answered before may dislike this question
        is_flex = response.status == 429 and effective.get("service_tier") == "flex"
        return _Refused(complaint, error, is_flex and says_tier_is_full(complaint))

    def silent_s(self) -> float | None:
        """Longest time that a model has answered nobody, seconds; see `JudgeHealth.silent_s`."""
        return max(filter(None, (queue.health.silent_s() for queue in self._queues.values())), default=None)

    async def close(self) -> None:
        """Closes the connections, in the loop that opened them; the object can then be used in another loop."""
        for queue in self._queues.values():
            queue.detach()
            if queue.quota is not None:
                await queue.quota.close()
        await self._transport.close()

    def _first_plan(self, question: Question) -> CapabilityPlan:
        if question.backend == "decisions":
            return CapabilityPlan(rung=len(RUNGS) - 1)  # the choices are its form: there is no simpler one
        # OpenAI's own reasoning models refuse `max_tokens`; older servers silently ignore the newer name.
        return CapabilityPlan(limits=LIMITS[::-1]) if self._transport.base_url is None else CapabilityPlan()

    def _read(self, question: Question, response: HttpResponse, effective: Mapping[str, Any]) -> Reply:
        body = parsed(response.raw)
        wire = WIRES[question.backend]
        try:
            reply = wire.read(body, question, effective, latency_ms=response.latency_ms, price=self._price)
        except NoCompletion as error:
            try:
                self._raise_for_no_completion(question.model, wire, response, body, str(error))
            except JudgeError as raised:
                raised.paid_usd += paid_usd(body, question, self._price)
                raise
        return without_cut(reply, question.messages)

    def _raise_for_no_completion(
        self, model: str, wire: Wire, response: HttpResponse, body: object, why: str
    ) -> NoReturn:
        if (wrong := error_in(body)) is not None:
            complaint = read_complaint(json.dumps({"error": wrong}).encode())
            raise self._error(model, response._replace(status=status_of(complaint)), complaint)
        if why:  # a gateway tells its upstream's failure so: this question may be answered at the next try
            raise JudgeUnavailable(f"the judge at {self._transport.shown} gave {why}")
        what = f"something that is no {wire.noun}" if body is not None else "something that is not JSON"
        start = self._transport.scrubbed(response.raw[:SHOWN_LIMIT].decode("utf-8", "replace"))[:80]
        message = f"the judge at {self._transport.shown} answered with {what}: {start!r}; check OPENAI_BASE_URL"
        is_page = response.raw.lstrip()[:1] == b"<" or "html" in response.headers.get("content-type", "")
        if is_page and not self._plans:  # a judge that answered before has a proxy in trouble before it
            raise JudgeRefusesUs(message)
        raise JudgeUnavailable(message, is_for_all=not self._plans)

    def _error(self, model: str, response: HttpResponse, complaint: Complaint) -> JudgeError:
        message = self._transport.scrubbed(complaint.message) or "without a word"
        wait_s = retry_after_s(response.headers, datetime.now(UTC))
        return error_for(
            response.status, complaint, judge=self._transport.shown, model=model, message=message, wait_s=wait_s
        )


def _used(reply: Reply) -> int | None:
    """Tokens that an answer says it did cost; None where it says nothing."""
    read, written = reply.judging.input_tokens, reply.judging.output_tokens
    return None if read is None or written is None else read + written


def _with_costs_of(reply: Reply, others: Sequence[Reply]) -> Reply:
    """The reply, with what the answers before it cost; unknown where one is."""
    if not others:
        return reply
    judgings = [answer.judging for answer in (reply, *others)]
    sums: dict[str, Any] = {}
    for field in ("input_tokens", "cached_tokens", "output_tokens", "cost_usd", "latency_ms"):
        values = [getattr(judging, field) for judging in judgings]
        sums[field] = None if None in values else sum(values)
    sums["counts"] = next(filter(None, (judging.counts for judging in judgings)), None)
    return reply.model_copy(update={"judging": reply.judging.model_copy(update=sums)})


def _is_refusal(error: JudgeError) -> bool:
    return isinstance(error, JudgeUnavailable) and error.is_refusal


def _is_bad_request(error: JudgeError) -> bool:
    return isinstance(error, VerdictUnreadable) and error.reason == "bad_request"
