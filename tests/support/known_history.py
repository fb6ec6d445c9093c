"""A history whose true weekly means are known: strata differ in quality and rate, nights in rate and size."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from tests.support.project import (
    MONDAY,
    Installation,
    document,
    draw,
    draw_nights,
    ingest,
    rows,
    wait,
)
from tests.support.trends import trend_points as trends
from worker.core.calendar import nights_between, week_of
from worker.pipeline.nightly import finish


def known_history(
    installation: Installation, seed: int
) -> tuple[dict[tuple[str, str | None], float], dict[tuple[str, str | None], dict[str, Any]]]:
    """The true mean and the stored point of each of four weeks, for two task types and both together."""
    rng = random.Random(seed)
    good: dict[str, bool] = {}
    truth: dict[tuple[str, str | None], list[bool]] = defaultdict(list)
    runs = []
    nights = list(nights_between(MONDAY, MONDAY + timedelta(days=27)))
    for offset, night in enumerate(nights):
        is_quiet = night.weekday() >= 5
        for task_type, size, quality in (("refund", 45, 0.85), ("faq", 12, 0.6)):
            for number in range(max(1, round(size * (0.2 if is_quiet else 1.0) * rng.uniform(0.8, 1.2)))):
                case = f"case-{seed}-{task_type}-{offset:02}-{number:02}"
                is_flagged = rng.random() < 0.15
                chance = quality - 0.35 * is_flagged - 0.15 * is_quiet - 0.1 * (offset // 7 % 2)
                good[case] = rng.random() < chance
                truth[week_of(night), task_type].append(good[case])
                # flagged by a failed tool, since the rubric looks only at completed runs
                step = {"kind": "tool", "name": "issue", "arguments": {"order": case}, "result": "x"}
                step |= {"error": "timeout"} if is_flagged else {}
                runs.append(document(case, night, task_type=task_type, steps=[step]))
    installation.passes = good.__getitem__
    project = installation.project(
        "[sampling]\nrate = 0.1\nflagged_rate = 0.5\nfloor_per_night = 2\n[sampling.task_types.faq]\nrate = 0.2\n"
        '[scoring]\nheuristics = []\nrubrics = ["task_completion"]\n[judge]\nconcurrency = 16\n'
    )
    ingest(project, runs)
    for night in nights:
        draw_nights(project, [night], rate=rng.choice([None, None, 0.3]))
    assert wait(project).still_open == 0
    finish(project, datetime.now(UTC))
    why = {reason for (reason,) in rows(project, select(draw.c.why))}
    assert {"floor", "rate", "flagged"} <= why
    means: dict[tuple[str, str | None], float] = {key: sum(values) / len(values) for key, values in truth.items()}
    traffic = {task: sum(len(truth[key]) for key in truth if key[1] == task) for task in ("refund", "faq")}
    for week in {week for week, _ in truth}:
        parts = [traffic[task] * means[week, task] for task in traffic]
        means[week, None] = sum(parts) / sum(traffic.values())
    points = trends(project, by="task_type", scorer="task_completion", task_type=None, weeks=4)
    return means, {(point["week"], point["task_type"]): point for point in points if point["criterion"] is None}
