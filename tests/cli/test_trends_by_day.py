"""`spotcheck trends` by night, between dates, of several task types and of one criterion."""

from datetime import date, timedelta

import pytest

from tests.support.scored_project import ScoredProject


def points(world: ScoredProject, *options: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = world.shell("trends", "--json", *options).json["points"]
    return found


def test_single_nights_are_estimated_by_themselves(world: ScoredProject) -> None:
    newest = date.fromisoformat(world.newest)
    found = points(world, "--by-day", "--scorer", "task_completion", "--task-type", "refund")
    assert [one["night"] for one in found] == [str(newest - timedelta(days=back)) for back in range(13, -1, -1)]
    assert {one["population"] for one in found} == {8}
    weekly = points(world, "--scorer", "task_completion", "--task-type", "refund", "--weeks", "1")[-1]
    own = [one for one in found if one["week"] == weekly["week"]]
    assert sum(int(str(one["scored"])) for one in own) == weekly["scored"]
    shown = world.shell("trends", "--by-day", "--scorer", "task_completion", COLUMNS="200").out
    assert shown.startswith(f"means by night to {newest} (UTC); ")
    assert f"{newest:%m-%d}" in shown
    header = world.shell("trends", "--by-day", "--format", "csv").out.splitlines()[0]
    assert header.startswith("night,week,task_type,")


@pytest.mark.parametrize("by_day", [True, False])
def test_dates_bound_what_is_shown(world: ScoredProject, by_day: bool) -> None:
    newest = date.fromisoformat(world.newest)
    since, until = newest - timedelta(days=20), newest - timedelta(days=14)
    bounds = ("--since", str(since), "--until", str(until))
    found = points(world, *bounds, "--scorer", "task_completion", *(["--by-day"] if by_day else []))
    if by_day:
        assert {one["night"] for one in found} == {str(since + timedelta(days=day)) for day in range(7)}
    else:
        monday = since - timedelta(days=since.weekday())
        weeks = {str(one["week"]) for one in found}
        assert min(weeks) == f"{monday.isocalendar().year}-W{monday.isocalendar().week:02d}"
        assert max(weeks) == f"{until.isocalendar().year}-W{until.isocalendar().week:02d}"


def test_several_task_types_and_one_criterion(world: ScoredProject) -> None:
    both = points(world, "--task-type", "refund", "--task-type", "faq")
    assert {one["task_type"] for one in both} == {"refund", "faq"}
    assert {one["criterion"] for one in both} == {None}, "criteria only when they are asked for"
    one = {str(each["criterion"]) for each in points(world, "--criteria")} - {"None"}
    criterion = sorted(one)[0]
    assert {each["criterion"] for each in points(world, "--criterion", criterion)} == {criterion}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--weeks", "2", "--since", "2026-01-01"), "give --weeks, or --since and --until, not both"),
        (("--by-day", "--format", "png"), "pictures show weeks"),
        (("--criterion", "nosuch"), "--criterion 'nosuch' has no scores"),
        (("--task-type", "refund", "--task-type", "fqa"), "did you mean faq?"),
        (("--by", "agent", "--task-type", "refund", "--task-type", "faq"), "takes one --task-type"),
    ],
)
def test_what_does_not_go_together_is_said(world: ScoredProject, options: tuple[str, ...], said: str) -> None:
    assert said in world.shell.refused("trends", *options)
