"""`spotcheck rubric list`: every rubric, what its file holds, and which version scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.cli.context import now, unopened
from worker.cli.options import Json
from worker.cli.output import columns, counted, inline, note, say, show_json, wrapped
from worker.core.rubric.parse import Rubric, identity
from worker.errors import StoreError
from worker.project.project import Project
from worker.queries.rubric_versions import RubricVersion, active_versions, file_lines
from worker.queries.rubrics import Escalations, recent_escalations
from worker.scorers.rubric.files import shipped_prompts
from worker.scorers.rubric.identity import options_of, scorer_key

_HASH = 12
_WEEKS = 4
"""For which it is told how often a second judge was asked."""


def listing(as_json: Json = False) -> None:
    """Every rubric, its version and hash, its series and judge, and which file won.

    The hash is of the text; the series is what its scores are called in trends and drift: text, judge and settings
    together. A file that differs from the version that scores is a draft. With a second judge it is told how often it
    was asked lately.

    Examples: spotcheck rubric list
    """
    opened = unopened()
    if (problem := opened.scorers.drafts.problems.get("")) is not None:
        raise problem
    drafts, in_force = opened.scorers.drafts, set(opened.settings.scoring.rubrics)
    scoring, said = _scoring(opened)
    has_second = any(rubric.judge.escalate for rubric in drafts.rubrics.values())
    asked = _escalations(opened) if has_second else []
    rows = [
        {
            **_file(opened, drafts.rubrics.get(name), scoring.get(name)),
            "name": name,
            "in_force": name in in_force,
            "problem": str(drafts.problems[name]) if name in drafts.problems else None,
            "active": _active(scoring.get(name)),
            "file": said.get(name),
            "draft": _is_draft(drafts.rubrics.get(name), scoring.get(name)),
            "escalations": [_told(each) for each in asked if each.name == name],
        }
        for name in sorted({*drafts.names, *scoring})
    ]
    if as_json:
        show_json({"rubrics": rows})
        return
    for row in rows:
        for line in _lines(row):
            say(line)
    say("* in force (setting scoring.rubrics)")


def _scoring(opened: Project) -> tuple[Mapping[str, RubricVersion], Mapping[str, str]]:
    """What scores by name, and what becomes of the files that hold something else."""
    try:
        return active_versions(opened), file_lines(opened)
    except StoreError as error:  # the rubrics are files, and can be listed all the same
        note(f"which versions score is not known: {error}")
        return {}, {}


def _file(opened: Project, rubric: Rubric | None, scoring: RubricVersion | None) -> dict[str, Any]:
    """What the file holds; where there is none, or a broken one, what scores."""
    if rubric is None:
        text = None if scoring is None else scoring.text
        return {
            "version": None if text is None else text.version,
            "hash": None if text is None else text.hash[:_HASH],
            "series": None if scoring is None else scoring.active_series,
            "model": None if scoring is None else scoring.model,
            "path": None,
            "shipped": False,
            "criteria": [],
            "description": "",
        }
    return {
        "version": rubric.version,
        "hash": identity(rubric)[:_HASH],
        **_measured_with(opened, rubric),
        "path": rubric.path,
        "shipped": Path(rubric.path).parent == shipped_prompts(),
        "criteria": [criterion.id for criterion in rubric.criteria],
        "description": rubric.description,
    }


def _active(scoring: RubricVersion | None) -> dict[str, Any] | None:
    if scoring is None:
        return None
    return {
        "version": scoring.text.version,
        "hash": scoring.text.hash[:_HASH],
        "series": scoring.active_series,
        "model": scoring.model,
    }


def _is_draft(rubric: Rubric | None, scoring: RubricVersion | None) -> bool:
    """Whether the file holds another text than the one that scores."""
    return rubric is not None and scoring is not None and identity(rubric) != scoring.text.hash


def _lines(row: Mapping[str, Any]) -> list[str]:
    mark = "*" if row["in_force"] else " "
    place = "shipped" if row["shipped"] else row["path"] or "its file is wrong"
    if row["path"] is None and row["active"] is not None:
        place = "the store's text scores"
    shown = row["active"] or row
    version, digest = shown["version"] or "?", shown["hash"] or "?"
    head = f"{mark} {row['name']:<20} {version:<8} {digest:<12}  {shown['series'] or '':<15} {place}".rstrip()
    room = columns()
    if room is not None and len(head) > room:
        head = f"{mark} " + " ".join(filter(None, (row["name"], version, digest, shown["series"], place)))
    lines = wrapped(head)
    said = []
    if row["version"] is not None:
        said.append(f"judged by {shown['model']}" if shown["model"] else "no judge is configured")
    if row["file"]:
        said.append(row["file"])
    elif row["problem"]:
        said.append(f"wrong: {row['problem']}")
    said += [str(row["description"]), *(_line(each) for each in row["escalations"])]
    for text in said:
        lines += wrapped(f"    {inline(text)}") if text else []
    return lines


def _measured_with(opened: Project, rubric: Rubric) -> dict[str, str | None]:
    """The series that the rubric's scores are of under these settings, as trends name it, and its judge."""
    settings = opened.settings
    model = settings.judge.model if settings.is_judge_configured else None
    options = options_of(rubric, model, redact=settings.scoring.redact, repair=settings.judge.repair)
    return {"series": scorer_key(rubric, options).series, "model": options.model}


def _escalations(opened: Project) -> list[Escalations]:
    """Of the last weeks; none where nothing is stored yet."""
    until = opened.nights.of(now())
    try:
        return recent_escalations(opened, until, weeks=_WEEKS)
    except StoreError as error:  # the rubrics are files, and can be listed all the same
        note(f"how often second judges were asked is not known: {error}")
        return []


def _told(one: Escalations) -> dict[str, Any]:
    figures = {name: value for name, value in one._asdict().items() if name not in ("scorer_pk", "name")}
    return figures | {"rate": one.rate, "agreement": one.agreement, "weeks": _WEEKS}


def _line(one: dict[str, Any]) -> str:
    """One series in words; dollars are those that are known."""
    said = (
        f"{one['series']}, {_WEEKS} weeks: {one['escalated']:,} of {counted(one['judged'], 'run')}"
        f" ({one['rate']:.1%}) escalated from {one['first']} to {one['second']}"
    )
    if not one["escalated"]:
        return said
    said += f"; of those the first judge cost ${one['first_usd']:.4f}, the second ${one['second_usd']:.4f}"
    return said if one["agreement"] is None else f"{said}; they agreed on {one['agreement']:.0%} of {one['compared']:,}"
