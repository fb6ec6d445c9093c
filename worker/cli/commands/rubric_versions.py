"""`spotcheck rubric show | promote`: what a rubric's versions are, and which of them scores."""

import getpass
import socket
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from worker.cli.context import now, project, unopened
from worker.cli.options import Json, near
from worker.cli.output import note, say, show_json, wrapped
from worker.errors import SettingsError
from worker.pipeline import promote as promoting
from worker.project.project import Project
from worker.queries import rubric_versions
from worker.queries.rubric_versions import RubricText, RubricVersion

_HASH = 12


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME[@ID]", help="ID: a version, a series id, a text's hash, or draft.")
    ],
    text: Annotated[bool, typer.Option("--text", help="The whole text too, with what it includes.")] = False,
    as_json: Json = False,
) -> None:
    """One version of a rubric as the store has it: its series with model and parameters, since when, by whom, proof.

    Without @ID the version that scores. What is stored is shown, whatever the file says now; @draft shows the file's
    text and how it differs from the active one.

    Examples: spotcheck rubric show task_completion · spotcheck rubric show task_completion@1.0.0 --text ·
    spotcheck rubric show task_completion@draft
    """
    opened = unopened()
    bare, _, wanted = name.partition("@")
    if wanted == "draft":
        _show_draft(opened, bare, as_json=as_json, with_text=text)
        return
    found = rubric_versions.versions(opened, bare)
    one = rubric_versions.chosen(found, wanted or None)
    if one is None:
        raise SettingsError(_nothing(opened, bare, wanted, found))
    if as_json:
        show_json(rubric_versions.as_json(one))
        return
    _tell(_lines(one))
    others = [f"{other.text.version} ({other.text.hash[:_HASH]})" for other in found if other is not one]
    if others:
        _tell([f"other versions: {', '.join(others)}"])
    if line := rubric_versions.file_lines(opened).get(bare):
        _tell([f"its file: {line}", f"  beside what is active: spotcheck rubric show {bare}@draft"])
    if text:
        _say_text(one.text)


def _show_draft(opened: Project, name: str, *, as_json: bool, with_text: bool) -> None:
    """The text of a rubric's file beside the one that is active."""
    drafts = opened.scorers.drafts
    if (problem := drafts.problem(name)) is not None:
        raise problem
    if name not in drafts.rubrics:
        raise SettingsError(f"{name} has no file{near(name, drafts.names)}")
    path, text = drafts.rubrics[name].path, promoting.text_of(drafts.rubrics[name])
    found = rubric_versions.versions(opened, name)
    active = next((one for one in found if one.is_active), None)
    line = rubric_versions.file_lines(opened).get(name)
    if as_json:
        told = {"name": name, "version": text.version, "hash": text.hash, "path": path, "file": line}
        shown = {"source": text.source, "includes": dict(text.includes)}
        show_json({**told, "active": None if active is None else rubric_versions.as_json(active), **shown})
        return
    is_active = active is not None and active.text.hash == text.hash
    _tell([f"{name} {text.version}  {text.hash[:_HASH]}  {'the file holds what is active' if is_active else 'draft'}"])
    _tell([f"  {path}", *([f"  {line}"] if line else [])])
    if active is None:
        wanted = "the file's text becomes so with the next night that is drawn"
        if name not in opened.settings.scoring.rubrics:
            wanted = "scoring.rubrics does not name it"
        _tell([f"  nothing is active: {wanted}"])
    elif not is_active:
        _tell(_lines(active))
        for change in rubric_versions.differences(active.text, text):
            say(change)
    if with_text:
        _say_text(text)


def _say_text(text: RubricText) -> None:
    for part, content in (("", text.source), *sorted(text.includes.items())):
        say(f"— {part or text.name} —")
        say(content)


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        for part in wrapped(line):
            say(part)


def _nothing(opened: Project, name: str, wanted: str, found: list[RubricVersion]) -> str:
    drafts = opened.scorers.drafts.names
    if found:
        known = ", ".join(one.text.version for one in found)
        return f"{name} has no stored version {wanted!r}; there are: {known}"
    if rubric_versions.has_scored(opened, name):
        return f"{name} has scored, but its text was not stored then; the next draw of a night stores its file's"
    if name in drafts:
        return f"{name} has scored nothing yet, so the store holds no text of it; its file: spotcheck rubric list"
    return f"there is no rubric {name!r}{near(name, drafts)}"


def _lines(one: RubricVersion) -> list[str]:
    state = f"scores, as {one.active_series}" if one.active_series else "active, no night is drawn with it yet"
    lines = [f"{one.text.name} {one.text.version}  {one.text.hash[:_HASH]}  {state if one.is_active else 'not active'}"]
    for each in one.promotions:
        since = f"since the draw of night {each.from_night}" if each.from_night else "for nights not drawn then"
        proof = f"not proved: {each.proof['unproved']}" if "unproved" in each.proof else "proved"
        lines.append(f"  active {since}, {each.at:%d %b %Y %H:%M} UTC, by {each.by} ({proof})")
    for row in one.series:
        spec: dict[str, Any] = dict(row.key.spec)
        params = ", ".join(f"{key} {value}" for key, value in dict(spec.get("params") or {}).items()) or "none"
        rest = ", ".join(
            f"{key} {value}"
            for key, value in spec.items()
            if key not in ("rubric", "rubric_hash", "model", "params") and value is not None
        )
        first = one.firsts.get(row.pk)
        oldest = "no night is scored yet" if first is None else f"its oldest scored night is {first}"
        judge = spec.get("model") or "no judge"
        lines.append(f"  series {row.key.series}: {oldest}; {judge}; parameters {params}; {rest}")
    return lines


def promote(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    unproved: Annotated[str, typer.Option("--unproved", metavar="WHY", help="Why it may score without a proof.")],
    version: Annotated[
        str | None, typer.Option("--version", metavar="V", help="A stored version, to go back to; else the file's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let a version score, for nights that are not drawn yet. Nights that are drawn keep the version they have.

    The reason is stored with it and shown by `rubric show`.

    Examples: spotcheck rubric promote task_completion --unproved "a typo" ·
    spotcheck rubric promote task_completion --version 1.0.0 --unproved "1.1.0 is too strict"
    """
    if not unproved.strip():
        raise SettingsError("--unproved: say why, in a few words; it is stored with the version")
    opened = project(creates=True)
    text = promoting.find_text(opened, name, version)
    by = f"{_user()}@{socket.gethostname()}"
    done = promoting.promote(opened, text, now(), by=by, why=unproved.strip()[:500])
    is_wanted = name in opened.settings.scoring.rubrics
    if as_json:
        show_json(
            {
                "promoted": {"name": name, "version": text.version, "hash": text.hash},
                "before": None if done.before is None else {"version": done.before.version, "hash": done.before.hash},
                "changed": done.is_new,
                "scorer_version": None if done.scorer is None else done.scorer.key.series,
                "by": by,
                "proof": {"unproved": unproved.strip()[:500]},
            }
        )
    elif not done.is_new:
        say(f"{name} {text.version} is the one that scores already; nothing is changed")
    else:
        series = f" as {done.scorer.key.series}" if done.scorer is not None else ""
        before = f"; {done.before.version} ends with the nights that are drawn" if done.before is not None else ""
        say(f"{name} {text.version} scores{series} from the next night that is drawn on{before} (not proved)")
    for line in done.lines:
        note(line)
    if not is_wanted:
        note(f"no night is drawn with it: {name} is not in scoring.rubrics")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without such a user
        return "unknown"
