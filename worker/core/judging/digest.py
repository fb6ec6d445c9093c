"""The digest: a run of any size, shortened to a token budget for the judge. Deterministic; it lists what it left out.

Input and output come first, in full up to a share of the budget, then a table with one row for each step. Errors,
writes, the first and last steps and steps that the answer quotes keep more of their text. Identical consecutive calls
become one row (`times`); base64 and long bodies become `[14,212 chars elided, sha256:ab12cd34]`; what still does not
fit is left out of the middle. No cut falls inside a word, so that half a secret cannot escape `redact`.

Token estimate: UTF-8 bytes / 4, rounded up. English prose has 4 to 5 bytes a token, so the estimate is high for it;
code, JSON and hexadecimal have 2.5 to 3.5, so it is low by up to a half; bounds on the size of a call therefore
multiply it by 1.5. Text in other scripts has 2 to 3 bytes a character and at most about one token a character.
"""

import hashlib
import json
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from worker.core.rubric.render import document_lines, document_text, join_document, json_text
from worker.records import Run, Step

DIGEST_VERSION = "1"
"""Part of a judge's fingerprint: a change of what the digest shows starts a new series of scores. Raise it with every
change of what is sent about a run, the rendering of the prompt in `core.rubric` included."""
MIN_BUDGET_TOKENS = 300
_WRITES = frozenset(
    re.findall(
        r"[a-z]+",
        "add apply approve archive assign book buy cancel charge close commit create delete deploy disable"
        " drop edit enable execute grant insert install issue merge modify move order overwrite patch pay post"
        " publish purge push put refund register reject remove rename reply reserve reset restart revoke save"
        " schedule send set sell submit terminate transfer trigger uninstall update upload upsert withdraw"
        " write",
    )
)
_READS = frozenset(
    re.findall(
        r"[a-z]+",
        "get list read fetch search find lookup check view show describe query count is has calculate",
    )
)
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{256,}={0,2}")
_WORD_CHARS = frozenset(string.ascii_letters + string.digits + "+/=_.@%-")
_SPECIFIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{3,60}")
_SCAN_CHARS = 2_000_000


class _Detail(NamedTuple):
    """How many characters a row keeps of arguments, and of the head and tail of results."""

    args: int
    head: int
    tail: int


_RICH, _NORMAL, _COMPACT = _Detail(600, 900, 500), _Detail(200, 300, 200), _Detail(80, 90, 0)


class Digest(NamedTuple):
    """What a judge is shown of a run."""

    document: dict[str, Any]
    """The keys are `core.rubric.sandbox.RUN_FIELDS`; plain JSON values only."""
    elided: tuple[str, ...]
    """Notes on what was left out; also in the document."""
    tokens: int
    """Estimated tokens of the document in the prompt; at most the budget."""
    lines: dict[str, str]
    """The document's text in the prompt, by field; see `document_lines`."""


class _StepGroup(NamedTuple):
    """Consecutive identical steps, shown as one row."""

    step: Step
    times: int
    important: bool
    mark: str | None
    """A word of the answer that occurs in the result; None without one."""
    sha: str | None
    """Hash of the full result, where it is long."""


def estimate_tokens(text: str) -> int:
    """Estimated tokens of a text: UTF-8 bytes / 4, rounded up.

    Example:
        >>> estimate_tokens("hello world!"), estimate_tokens("дом"), estimate_tokens("")
        (3, 2, 0)
    """
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def digest(
    run: Run, budget_tokens: int, keep: Iterable[str] = ("errors", "writes", "quoted", "first:1", "last:3")
) -> Digest:
    """Shorten a run to a token budget.

    Args:
        run: As `Run.for_scorer` returns it.
        budget_tokens: The most tokens of the document, by `estimate_tokens`; at least `MIN_BUDGET_TOKENS`.
        keep: Kinds of steps that keep more of their text: errors, writes, quoted, first:N, last:N.

    Returns:
        The digest; the same arguments give the same digest.

    Raises:
        ValueError: The budget is below the minimum.
    """
    if budget_tokens < MIN_BUDGET_TOKENS:
        raise ValueError(f"a digest needs at least {MIN_BUDGET_TOKENS} tokens, not {budget_tokens}")
    rows = _fold(run, keep)
    allowance = 4 * budget_tokens
    while True:
        document = _build(run, rows, allowance)
        lines = document_lines(document)
        size = estimate_tokens(join_document(lines.values()))
        if size <= budget_tokens:
            return Digest(document, tuple(document["elided"]), size, lines)
        allowance = int(allowance * min(0.9, 4 * budget_tokens / (4 * size)))


def _build(run: Run, rows: Sequence[_StepGroup], allowance: int) -> dict[str, Any]:
    """One attempt at a document of about `allowance` bytes."""
    cut = allowance // 16
    notes: list[str] = []
    document: dict[str, Any] = {
        "id": _clip(run.run_id, min(200, cut)),
        "task_type": _clip(run.task_type, min(200, cut)),
        "agent": _clip(run.agent, min(200, cut)),
        "status": run.status,
        "stop_reason": None if run.stop_reason is None else _clip(run.stop_reason, min(200, cut)),
        "error": None if run.error is None else _elide(run.error, min(1200, cut), min(400, cut // 2)),
        "input": None,
        "output": None,
        "step_count": len(run.steps),
        "steps": [],
        "elided": notes,
    }
    room = max(allowance - len(document_text(document).encode()) - 240, 100)
    needs = [_size(text) if text is None or len(text) <= room else room for text in (run.input, run.output)]
    table = sum(_size_of_row(_shown(row, _NORMAL)) for row in rows) if len(rows) < 400 else room
    texts = max(int(room * 0.55), room - table)
    for name, text, share in zip(("input", "output"), (run.input, run.output), _share(texts, needs), strict=True):
        if text is not None:
            document[name] = _fit(text, share)
            if document[name] != text:
                notes.append(f"{name}: shortened from {len(text):,} characters")
    used = sum(_size(document[name]) for name in ("input", "output"))
    document["steps"], dropped, shortened = _table(rows, max(room - used, 0))
    if dropped:
        notes.append(f"steps: {dropped:,} of {len(run.steps):,} left out of the middle")
    if shortened:
        notes.append(f"steps: arguments or results shortened in {shortened:,} rows")
    return document


def _share(room: int, needs: Sequence[int]) -> list[int]:
    """Divide `room` bytes between two texts: half each; what one does not need goes to the other."""
    half = room // 2
    first, second = needs
    if first <= half:
        return [first, room - first]
    if second <= half:
        return [room - second, second]
    return [half, room - half]


def _fit(text: str, room: int) -> str:
    """The text without base64 blobs, cut in the middle until its JSON form fits into `room` bytes."""
    keep = min(len(text), room)
    sha = _sha(text) if len(text) > room else None
    while True:
        shown = _elide(text, keep - keep * 2 // 5, keep * 2 // 5, None, sha)
        size = _size(shown)
        if size <= room or keep < 20:
            return shown
        keep = min(int(keep * max(room / size, 0.02) * 0.98), keep - 1)


def _size(text: str | None) -> int:
    """Bytes that a text takes in the prompt."""
    return 4 if text is None else len(json_text(text).encode())


def _size_of_row(row: Mapping[str, Any]) -> int:
    return len(json_text(row).encode()) + 2


def _fold(run: Run, keep: Iterable[str]) -> list[_StepGroup]:
    """Steps with identical consecutive ones merged, marked where they keep more of their text."""
    words = set(keep)
    ends = {word.partition(":")[0]: int(word.partition(":")[2]) for word in words if ":" in word}
    first, last = ends.get("first", 0), len(run.steps) - ends.get("last", 0)
    marks = _marks(run.output) if "quoted" in words else []
    allowance = _SCAN_CHARS
    rows: list[_StepGroup] = []
    for place, step in enumerate(run.steps):
        important = place < first or place >= last or ("errors" in words and step.error is not None)
        important = important or ("writes" in words and is_write(step))
        if rows and _same(rows[-1].step, step):
            rows[-1] = rows[-1]._replace(times=rows[-1].times + 1, important=rows[-1].important or important)
            continue
        mark = None
        if marks and step.result and allowance > 0:
            scanned = step.result[:20_000]
            allowance -= len(scanned) * len(marks)
            mark = next((word for word in marks if word in scanned), None)
        is_long = step.result is not None and len(step.result) > 20_000
        sha = step.result_sha or (_sha(step.result or "") if is_long else None)
        rows.append(_StepGroup(step, 1, important or mark is not None, mark, sha))
    return rows


def is_write(step: Step) -> bool:
    """Whether a tool's name suggests that it changes something: `issue_refund`, `sendEmail`.

    Example:
        >>> is_write(Step(seq=0, kind="tool", name="issueRefund")), is_write(Step(seq=0, kind="tool", name="get_order"))
        (True, False)
    """
    if step.kind != "tool":
        return False
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", step.name[:200])]
    return words[:1] != [] and words[0] not in _READS and any(word in _WRITES for word in words)


def _marks(output: str | None) -> list[str]:
    """Up to eight words of the answer that are specific enough to look for: those with a digit, longest first."""
    words = {
        word.rstrip(".-_@")
        for word in set(_SPECIFIC.findall((output or "")[:20_000]))
        if not word.isalpha() and any(char.isdigit() for char in word)
    }
    return sorted((word for word in words if len(word) > 3), key=lambda word: (-len(word), word))[:8]


def _same(step: Step, other: Step) -> bool:
    try:
        return (
            step.name == other.name
            and step.kind == other.kind
            and step.result == other.result
            and step.error == other.error
            and bool(step.arguments == other.arguments)
        )
    except RecursionError:
        return False


def _shown(row: _StepGroup, detail: _Detail) -> dict[str, Any]:
    """A row of the table as the judge sees it."""
    step = row.step
    fields: dict[str, Any] = {"step": step.seq, "kind": step.kind, "name": _clip(step.name, 120)}
    if row.times > 1:
        fields["times"] = f"×{row.times}"
    if step.arguments is not None:
        text = step.arguments if isinstance(step.arguments, str) else _json(step.arguments)
        fields["args"] = _elide(text, detail.args, 0)
    fields["status"] = "ok" if step.error is None else "error"
    if step.error is not None:
        fields["error"] = _elide(step.error, detail.head, 0)
    if step.result is not None:
        fields["result"] = _elide(step.result, detail.head, detail.tail, step.result_size, row.sha)
        if row.mark is not None and row.mark not in fields["result"] and detail is not _COMPACT:
            fields["quoted_part"] = _around(step.result, row.mark)
    return fields


def _around(text: str, mark: str) -> str:
    """The text around a word that the answer quotes, cut at whole words."""
    at = text.find(mark)
    before, after = text[max(at - 120, 0) : at], text[at + len(mark) : at + len(mark) + 120]
    return _whole_words(before[::-1])[::-1] + mark + _whole_words(after)


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        return "[nested too deeply to show]"


def _table(rows: Sequence[_StepGroup], room: int) -> tuple[list[dict[str, Any]], int, int]:
    """The rows that fit into `room` bytes: (rows, steps left out, rows shortened)."""
    max_rows = room // 60
    if len(rows) <= min(max_rows, 2000):
        for rich, plain in ((_RICH, _NORMAL), (_NORMAL, _NORMAL), (_NORMAL, _COMPACT)):
            shown = [_shown(row, rich if row.important else plain) for row in rows]
            if sum(map(_size_of_row, shown)) <= room:
                return shown, 0, sum(map(_is_short, shown))
    detail = _NORMAL if sum(row.important for row in rows) * 700 < room else _COMPACT
    kept: dict[int, dict[str, Any]] = {}
    for place in _by_weight(rows, max_rows):
        shown_row = _shown(rows[place], detail if rows[place].important else _COMPACT)
        gap = 0 if place - 1 in kept or place + 1 in kept else _GAP_BYTES
        room -= _size_of_row(shown_row) + gap
        if room < _GAP_BYTES:
            break
        kept[place] = shown_row
    table, dropped = _with_gaps(rows, kept)
    return table, dropped, sum(map(_is_short, kept.values()))


_GAP_BYTES = 90


def _by_weight(rows: Sequence[_StepGroup], max_rows: int) -> list[int]:
    """Indexes of rows by priority: important ones first, then those nearer to the first or the last row."""
    far = len(rows)
    order = sorted(range(far), key=lambda place: (not rows[place].important, min(place, far - 1 - place), place))
    return order[: max(max_rows, 0)]


def _with_gaps(rows: Sequence[_StepGroup], kept: Mapping[int, dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The kept rows in order, with one row for each gap."""
    table: list[dict[str, Any]] = []
    gap: list[_StepGroup] = []
    dropped = 0
    for place in range(len(rows) + 1):
        row = kept.get(place)
        if row is None and place < len(rows):
            gap.append(rows[place])
            continue
        if gap:
            count = sum(left.times for left in gap)
            dropped += count
            errors = sum(left.times for left in gap if left.step.error is not None)
            table.append({"left_out": f"steps {gap[0].step.seq} to {gap[0].step.seq + count - 1}", "errors": errors})
            gap = []
        if row is not None:
            table.append(row)
    return table, dropped


def _is_short(row: Mapping[str, Any]) -> bool:
    return any(" chars elided" in str(row.get(key, "")) for key in ("args", "result", "error"))


def _clip(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max(max_chars - 1, 0)] + "…"


def _elide(text: str, head: int, tail: int, full_size: int | None = None, full_sha: str | None = None) -> str:
    """A text cut to its head and tail, without base64 blobs; a marker says how much is missing."""
    size = max(full_size or 0, len(text))
    if len(text) <= head + tail + 60:
        shown = _BLOB.sub(lambda match: _marker(match[0], len(match[0])), text)
        return shown if size == len(text) else shown + _marker(text, size - len(text), full_sha)
    start, end = text[:head], text[len(text) - tail :] if tail else ""
    start, end = _whole_words(start), _whole_words(end[::-1])[::-1]
    marker = _marker(text, size - len(start) - len(end), full_sha)
    start, end = (_BLOB.sub(lambda match: _marker(match[0], len(match[0])), side) for side in (start, end))
    return f"{start}{marker}{end}"


def _whole_words(side: str) -> str:
    """The text before a cut without the word that the cut fell into; words of over 300 characters are cut anyway.

    Example:
        >>> _whole_words("key: sk-proj-12")
        'key: '
    """
    for back in range(1, min(len(side), 300) + 1):
        if side[-back] not in _WORD_CHARS:
            return side[: len(side) - back + 1]
    return side if len(side) > 300 else ""


def _marker(text: str, missing: int, sha: str | None = None) -> str:
    return f"[{missing:,} chars elided, sha256:{(sha or _sha(text))[:8]}]"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
