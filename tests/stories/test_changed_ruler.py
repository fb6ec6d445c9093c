"""A changed judge, rubric or setting never passes for a changed agent: every figure is of one series and says so."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.changed_ruler import AFTER, CHANGED, SINCE, Changed, Ruler, change, verdict
from tests.support.history import NOW, TOML, document, make, night
from worker.core.report.model import Report
from worker.core.report.series import announcement, learning_note
from worker.demo.history import History
from worker.demo.outcome import outcome
from worker.queries.readiness import learning
from worker.queries.report.gather import ReportRequest, gather
from worker.queries.report.series import series_history
from worker.store.engine import Store
from worker.store.queue import enrol
from worker.store.tables import EnrolmentRow, core

A, B = Ruler(), Ruler(model="gpt-b")
enrolment = core(EnrolmentRow)


@pytest.fixture
def switched(store: Store, tmp_path: Path) -> Changed:
    """Judge gpt-a for 23 nights, with a drop that it found; then gpt-b, which is stricter. On both stores."""
    return change(store, tmp_path, A, B)


@pytest.fixture
def judged(fresh: Store, tmp_path: Path) -> Changed:
    """The same, on SQLite alone."""
    return change(fresh, tmp_path, A, B)


def series(report: Report) -> list[str]:
    """The series of the rubric, as trends name them; the oldest first."""
    stream = next(one for one in report.streams if one.is_rubric and one.task_type is None)
    return list(dict.fromkeys(point.series for point in stream.points))


def test_every_figure_of_a_report_is_of_the_newest_series(switched: Changed) -> None:
    report = gather(switched.made.project, ReportRequest(), NOW)
    old, new = series(report)
    assert report.primary_series == new
    for stream in report.streams:
        if stream.is_rubric:
            assert stream.newest is not None
            assert (stream.of, stream.newest.series, stream.state) == (new, new, "young")
            assert [(mark.night, mark.text, mark.why) for mark in stream.marks if mark.kind == "series"] == [
                (SINCE, new, "another judge: gpt-a → gpt-b")
            ]
    whole = report.groups[0]
    assert whole.good.n == 20 * (CHANGED + 1), "what the old judge called good in this week is another question"
    assert whole.good.mean == pytest.approx(AFTER, abs=0.1)
    assert report.common.runs == 20 * (CHANGED + 1)
    for run in report.reading.worst:
        assert int(run.run_id.split("-")[1]) <= CHANGED, "ranked by one series"
    for run in (one for one in report.reading.random if int(one.run_id.split("-")[1]) > CHANGED):
        assert run.value is None
        assert run.unscored == f"scored by {old} only, which is not compared"
        assert [line.is_over for line in run.scores if line.is_rubric and line.criterion is None] == [True]
    assert [counts.series for counts in report.primary_counts] == [new]
    calm = gather(switched.made.project, ReportRequest(night(CHANGED), night(0), "faq"), NOW)
    assert any(
        "Quality was" in one and " in 2026-W47 since Wed 18 Nov (" in one for one in map("".join, calm.sentences)
    )


def test_a_finding_of_the_old_series_is_not_told_with_the_new_one_s_level(switched: Changed) -> None:
    report = gather(switched.made.project, ReportRequest(), NOW)
    old, _ = series(report)
    quality = [one for one in report.changes if one.drift.stream.scorer == report.primary]
    assert quality
    assert {(one.drift.stream.scorer_version, one.ended) for one in quality} == {(old, night(CHANGED + 1))}
    said = " ".join("".join(sentence) for sentence in report.sentences)
    assert "its series ended Tue 17 Nov, and what came after is not compared with it" in said
    assert "W47:" not in said, "the newest week is the other judge's"
    assert not any(stream.has_moved(one.drift) for stream in report.streams for one in quality)


def test_the_told_changeis_announced_wherever_figures_are(switched: Changed, tmp_path: Path) -> None:
    shell = switched.shell
    old, new = series(gather(switched.made.project, ReportRequest(), NOW))
    said = f"task_completion: new series {new} since 2026-11-18 (another judge: gpt-a → gpt-b); "
    said += f"not compared with {old} before"
    learns = "it learns its reference first (5 of 14 nights are learned): "
    learns += "no change can be found in it before the night of 2026-12-02"

    def flat(text: str) -> str:
        return " ".join(text.split())

    assert said in flat(shell("report").out)
    assert learns in flat(shell("report").out)
    markdown = shell("report", "--markdown", "-").out.replace("`", "")
    assert said in markdown
    page = tmp_path / "week.html"
    assert said in shell("report", "--html", page).err
    assert f"since {SINCE} (another judge: <bdi>gpt-a</bdi> → <bdi>gpt-b</bdi>)" in page.read_text(encoding="utf-8")
    (told,) = shell("report", "--json").json["series_changes"]
    assert (told["before"], told["after"], told["since"], told["text"]) == (old, new, str(SINCE), f"{said}; {learns}")
    assert told["changed"] == [{"part": "model", "before": "gpt-a", "after": "gpt-b"}]

    assert said in flat(shell("trends", COLUMNS="80").out)
    assert shell("trends", "--json").json["series_changes"] == [told]
    table = shell("trends", "--format", "csv")
    assert said in table.err
    assert {row["scorer_version"] for row in csv.DictReader(io.StringIO(table.out))} >= {old, new}
    assert "series_changes" not in shell("trends", "--json", "--scorer", "answer_present").json

    lines = shell("drift").out.splitlines()
    ended = (
        f"    series {old} ended 2026-11-17; what came after is not compared with it, so it stays open until --accept"
    )
    assert [line.rpartition(" ")[0] for line in lines if "ended" in line] == [ended] * len(
        shell("drift", "--json").json["findings"]
    )
    assert lines[lines.index(said) + 1] == f"    {learns}"
    answer = shell("drift", "--json").json
    assert answer["series_changes"] == [told]
    assert {one["series_ended"] for one in answer["findings"]} == {"2026-11-17"}


def test_the_picture_breaks_the_line_and_marks_the_change(judged: Changed, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    drawn: list[Any] = []

    def save(self: Any, path: Path, **_: object) -> None:
        drawn.append(self)
        path.write_bytes(b"")

    monkeypatch.setattr(figure.Figure, "savefig", save)
    assert judged.shell("trends", "--format", "png", "--scorer", "task_completion").code == 0
    (picture,) = drawn
    panels = [axis for axis in picture.axes if axis.get_visible()]
    assert len(panels) == 3, "one of each line, not one of each series"
    for axis in panels:
        upright = [line for line in axis.lines if line.get_linestyle() == "--"]
        assert [round(line.get_xdata()[0], 2) for line in upright] == [round(3 - 0.5 + 2 / 7, 2)]
        curves = [line for line in axis.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
        points = [[x for x, y in zip(*line.get_data(), strict=True) if y == y] for line in curves]
        (mark,) = (line.get_xdata()[0] for line in upright)
        assert sorted((min(x) < mark, max(x) < mark) for x in points) == [(False, False), (True, True)]
        assert any("only of " in text.get_text() for text in axis.texts)
    assert any("not compared with" in text.get_text() for text in picture.texts)


def test_nothing_is_announced_where_nothing_changed(fresh: Store, tmp_path: Path) -> None:
    same = change(fresh, tmp_path, A, A)
    for arguments in (["report"], ["trends"], ["drift"], ["report", "--markdown", "-"]):
        assert "new series" not in same.shell(*arguments).out
    assert same.shell("report", "--json").json["series_changes"] == []
    assert "series_changes" not in same.shell("trends", "--json").json


def test_a_judge_that_answers_nothing_has_no_score_and_borrows_none(fresh: Store, tmp_path: Path) -> None:
    def refusing(scorer: str, run_id: str) -> float | str:
        return 1.0 if scorer == "answer_present" else "refusal"

    changed = change(fresh, tmp_path, A, B, refusing)
    report = gather(changed.made.project, ReportRequest(), NOW)
    old, new = series(report)
    assert report.primary_series == new
    assert report.groups[0].good.mean is None
    assert {stream.newest for stream in report.streams if stream.is_rubric} == {None}
    (told,) = report.series_changes
    assert "".join(announcement(told)).endswith(f"not compared with {old} before; none of its runs has a score yet")
    said = " ".join("".join(sentence) for sentence in report.sentences)
    assert "Nothing is known of the quality in week 2026-W47 since Wed 18 Nov (" in said
    assert f"(new series {new}): none of 100 sampled runs has a score" in said
    assert changed.shell("report", "--html", tmp_path / "page.html").code == 0
    assert changed.shell("trends", "--format", "png", "-o", tmp_path / "a.png", COLUMNS="80").code == 0


def schema(*required: str) -> str:
    heuristics = TOML.replace('["answer_present"]', '["answer_present", "valid_json"]')
    return f"{heuristics}[scoring.schemas.faq]\ntype = 'object'\nrequired = {list(required)}\n"


UNREDACTED = TOML.replace("[scoring]\n", "[scoring]\nredact = false\n")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (Ruler(), Ruler(version="1.1.0"), {"task_completion": "rubric 1.0.0 → 1.1.0"}),
        (Ruler(), Ruler(UNREDACTED), {"task_completion": "redaction on → off"}),
        (Ruler(schema("a")), Ruler(schema("a", "b")), {"valid_json": "settings.schemas.faq changed"}),
        (
            Ruler(schema("a")),
            Ruler(schema("b"), "gpt-b", "1.1.0"),
            {
                "task_completion": "rubric 1.0.0 → 1.1.0; another judge: gpt-a → gpt-b",
                "valid_json": "settings.schemas.faq changed",
            },
        ),
    ],
)
def test_another_rubric_setting_or_schema_is_told_by_what_has_changed(
    first: Ruler, second: Ruler, said: dict[str, str], fresh: Store, tmp_path: Path
) -> None:
    changed = change(fresh, tmp_path, first, second)
    report = gather(changed.made.project, ReportRequest(), NOW)
    told = {one.scorer: "".join(announcement(one)) for one in report.series_changes}
    assert told.keys() == said.keys()
    for scorer, why in said.items():
        assert f" since {SINCE} ({why}); not compared with " in told[scorer]
    assert not [one for one in report.changes if one.drift.stream.scorer == "valid_json"]
    for stream in report.streams:
        is_new = stream.scorer in said
        assert (stream.state == "young") == is_new, stream
        assert any(mark.kind == "series" for mark in stream.marks) == is_new


def test_an_old_week_is_told_by_the_series_of_its_own_time(judged: Changed) -> None:
    monday = night(13)
    report = gather(judged.made.project, ReportRequest(monday, night(7)), NOW)
    assert report.window is not None
    assert report.window.label == "week 2026-W46"
    assert report.series_changes == ()
    assert all(stream.newest is not None for stream in report.streams if stream.is_rubric)
    assert report.primary_series == series(report)[0]
    assert [one.ended for one in report.changes] == [None] * len(report.changes)
    assert report.groups[0].good.n == 20 * 7


@pytest.mark.parametrize(("second", "said"), [("gpt-a", ""), ("gpt-b", "5 of 14 nights are learned")])
def test_quality_is_not_called_tested_while_the_new_series_learns(
    second: str, said: str, fresh: Store, tmp_path: Path
) -> None:
    alone = TOML.replace('["answer_present"]', "[]")
    changed = change(fresh, tmp_path, Ruler(alone), Ruler(alone, second))
    assert learning(changed.made.project).quality.said == said


def test_a_judge_that_comes_back_goes_on_with_its_own_past(store: Store, tmp_path: Path) -> None:
    change(store, tmp_path, A, B)
    later = [document(f"faq-x-{number}", night(-1), task_type="faq") for number in range(10)]
    project = make(
        store, later, lambda scorer, run_id: 1.0, is_watched=False, model="gpt-a", toml=A.lay_out(tmp_path)
    ).project
    with store.read() as connection:
        history = series_history(connection, night(27), night(-1))
    first, second = history.changes
    assert (first.is_back, second.is_back) == (False, True)
    assert (second.before, second.after) == (first.after, first.before)
    assert learning_note(second, night(-1)) == ""
    assert project.store is store


def test_the_list_of_rubrics_names_the_series_as_trends_do(judged: Changed) -> None:
    _, new = series(gather(judged.made.project, ReportRequest(), NOW))
    (listed,) = [one for one in judged.shell("rubric", "list", "--json").json["rubrics"] if one["in_force"]]
    assert (listed["name"], listed["series"], listed["model"]) == ("task_completion", new, "gpt-b")
    told = judged.shell("rubric", "list").out.splitlines()
    (place,) = [number for number, line in enumerate(told) if line.startswith("* task_completion ")]
    assert told[place].split()[2:5] == ["1.0.0", listed["hash"], new]
    assert told[place + 1] == "    judged by gpt-b"
    unjudged = judged.shell("rubric", "list", "--json", SPOTCHECK_JUDGE_MODEL="").json["rubrics"]
    assert {one["model"] for one in unjudged} == {None}
    assert not {one["series"] for one in unjudged} & {new}


@pytest.mark.parametrize("purpose", ["production", "backfill"])
def test_a_night_that_both_have_scored_counts_once_and_each_run_says_which_is_which(
    purpose: str, judged: Changed
) -> None:
    """A night handed over is measured by the newer series, one that it scored again long after is not."""
    project, both = judged.made.project, night(CHANGED + 1)
    old, new = series(gather(project, ReportRequest(), NOW))
    run_id = f"faq-{CHANGED + 1:02}-0"
    assert "series" not in judged.shell("explain", run_id).out
    entries = [entry for entry, _ in project.scorers.register() if entry.key.name == "task_completion"]
    with project.store.write() as connection:
        enrol.enrol(connection, both, entries, NOW)
        enrol.enqueue(connection, both, entries, NOW)
        connection.execute(
            update(enrolment)
            .where(enrolment.c.night == both, enrolment.c.scorer_pk == entries[0].pk)
            .values(purpose=purpose)
        )
    make(project.store, [], verdict(True), toml=B.lay_out(judged.shell.folder), model="gpt-b", is_watched=False)
    told = judged.shell("explain", run_id).out
    assert f"series {old}; " in told
    assert f"series {new}; " in told
    report = gather(project, ReportRequest(), NOW)
    (told_change,) = report.series_changes
    (counts,) = report.primary_counts
    assert counts.series == new
    nights = CHANGED + (1 if purpose == "backfill" else 2)
    assert (told_change.last, told_change.since) == (night(nights), night(nights - 1))
    assert report.groups[0].good.n == 20 * (CHANGED + 2), "of its trend's nights, a backfilled one included"
    of_faq = gather(project, ReportRequest(night(6), night(0), "faq"), NOW)
    (level,) = [one for one in map("".join, of_faq.sentences) if one.startswith("Quality was ")]
    assert " in 2026-W47 since Tue 17 Nov (" in level, "the first night that it scored, whenever it did"
    assert f"n {of_faq.groups[0].good.n} of 60 runs" in level
    (run,) = [one for one in (*report.reading.random, *report.reading.worst) if f"-{CHANGED + 1:02}-" in one.run_id][:1]
    assert {line.series: line.is_over for line in run.scores if line.is_rubric} == {old: True, new: False}
    ends = {one.ended for one in report.changes if one.drift.stream.scorer_version == old}
    assert ends == {both}, "the last night that it scored, whoever scored it again"


def test_what_a_demo_says_of_the_mix_is_of_one_series(judged: Changed) -> None:
    answer = outcome(judged.made.project, History(1, night(0)), [])
    assert (answer["mix"]["same_mix_before"], answer["mix"]["moved"]) == (None, None), (
        "the old judge's weeks are no before"
    )
    assert answer["mix"]["same_mix_after"] == pytest.approx(AFTER, abs=0.1)
