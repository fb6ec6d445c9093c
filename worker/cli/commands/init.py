"""`spotcheck init`: a commented spotcheck.toml and a prompts folder."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.files import replacing
from worker.cli.output import say
from worker.errors import SettingsError
from worker.scorers.rubric.files import shipped_prompts

TOML = """\
# Spotcheck's policy. Addresses and secrets stand in the environment:
#   SPOTCHECK_DATABASE_URL   sqlite:///spotcheck.db (default) or postgresql://…
#   SPOTCHECK_BROKER_URL     a folder beside the database (default) or redis://…
#   SPOTCHECK_JUDGE_MODEL, OPENAI_API_KEY, OPENAI_BASE_URL
# Every setting with its value and source: spotcheck settings

# log = "text"              # or "json", or SPOTCHECK_LOG: the log lines of worker, beat and up

[sampling]
rate = 0.05                 # probability that an ordinary run is drawn
flagged_rate = 0.25         # … that a flagged one is: errored, aborted, outlier, tool error, repeated call
floor_per_night = 3         # drawn at least, of each task type, flagged or not
# lookback_nights = 3       # drawn nights that are looked at again for late runs
# [sampling.task_types.refund]
# rate = 0.2

[scoring]
# heuristics = ["answer_present", "tool_success"]   # all when not given
rubrics = ["task_completion"]                       # files in prompts/
# redact = true             # keys, e-mail addresses and card numbers are blanked before a run leaves for a judge
# max_attempts = 8          # times a job is tried before it counts as failed
# lease_s = 90              # seconds until others take over from a worker that is gone
# [scoring.schemas.faq]     # JSON Schema of a task type's output, for valid_json
# type = "object"
# [scoring.custom]          # scorers of your own beside the built-in heuristics, see docs/scorers.md
# short_answer = "checks:short_answer"       # the function short_answer in checks.py beside this file
# [scoring.settings.short_answer]            # where it takes settings
# most = 200

[judge]
# model = "…"                   # or SPOTCHECK_JUDGE_MODEL
# base_url = "…"                # or OPENAI_BASE_URL: any OpenAI-compatible server
# concurrency = 16              # or SPOTCHECK_JUDGE_CONCURRENCY: calls in flight per process
# timeout_s = 60                # longest wait for one answer
# answers_days = 7              # how long an answer is kept, so that the same question is not paid twice; 0 keeps none
# budget_usd_per_day = 5.0      # what scoring nights may spend in a calendar day; no limit when not given
# budget_usd_per_month = 100.0  # what all scoring may spend in a calendar month
# backfill_usd_per_day = 5.0    # what backfills may spend beside it; else what the day's budget leaves over
# repair = true                 # ask once more where no server enforces JSON; reserves twice the money
# tier_prices = { flex = 0.5, batch = 0.5, priority = 2.0 }   # times the model's price
# lane = "now"                  # or "batch": half the price, within a day, from servers that have files and batches
# backfill_lane = "batch"       # … for nights of long ago and replays; as lane when not given
# lanes = { tone_and_format = "batch" }   # … for single rubrics
# unknown_price = "allow"       # with a budget, a model without a known price is refused unless allowed
# [judge.quota]                 # hard limits of the account, for all workers together; else found by trying
# requests_per_minute = 500
# tokens_per_minute = 200000
# [judge.quota.models."my-model"]   # another one for one model
# requests_per_minute = 60
# [judge.budgets.task_completion]   # what one rubric may spend, beside the caps of all
# usd_per_day = 1.0
# usd_per_month = 20.0
# [judge.prices."my-model"]
# input_usd_per_mtok = 0.1
# output_usd_per_mtok = 0.5
# cached_input_usd_per_mtok = 0.01
# [judge.batch]
# deadline_h = 24               # what a batch has not answered by then is asked at once
# gather_s = 300                # how long the oldest job waits for company
# max_jobs = 10000              # of one batch
# max_bytes = 50000000          # of one batch's questions
# poll_s = 30                   # shortest time between two looks at a running batch

[schedule]
at = "02:00"
time_zone = "UTC"           # nights and weeks are counted in it, like "Europe/Berlin"

[alerts]
false_alarms_per_year = 2   # drift findings that chance may cause, for the whole project
# run_cost_usd = 2.0        # the agent's cost of one run above this is told at once
# agent_daily_spend_usd = 500
# send = "all"              # or "now": send only what is told at once

[intake]                    # what is longer is cut (texts, results, steps) or rejected (lines)
# max_line_bytes = 16000000
# max_text_chars = 1000000
# max_result_chars = 64000
# max_steps = 5000

# [metrics]
# listen = "127.0.0.1:9464"   # or SPOTCHECK_METRICS: where the control worker, or up, answers GET /metrics
"""


_NEXT = (
    ("spotcheck ingest RUNS.jsonl", "takes runs in"),
    ("spotcheck sample --since DAY --dry-run", "what scoring them would cost"),
    ("spotcheck nightly --since DAY --until DAY --wait", "scores the history"),
    ("spotcheck trends", "weekly means"),
    ("spotcheck up", "each night from now on"),
    ("spotcheck nightly --wait", "the same from cron"),
)


def _copy_prompts(prompts: Path) -> None:
    """The folder whole, or nothing of it: interrupted half-way, `init` can be repeated."""
    if prompts.exists():
        shutil.copytree(shipped_prompts(), prompts, dirs_exist_ok=True)
        return
    part = prompts.with_name(f".{prompts.name}.{os.getpid()}")
    try:
        shutil.copytree(shipped_prompts(), part)
        part.rename(prompts)
    except BaseException:  # Ctrl-C too leaves no part behind; raised again
        shutil.rmtree(part, ignore_errors=True)
        raise


def init(
    folder: Annotated[Path, typer.Argument(help="Where to; this folder by default.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Write a commented spotcheck.toml and a prompts/ folder with the shipped rubrics.

    Examples: spotcheck init · spotcheck init my-project
    """
    toml, prompts = folder / "spotcheck.toml", folder / "prompts"
    for path in (toml, prompts):
        if path.exists() and not force:
            raise SettingsError(f"{path} exists; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy_prompts(prompts)
        with replacing(toml) as part:
            part.write_text(TOML, encoding="utf-8")
    except shutil.Error as error:
        raise SettingsError(f"{prompts} cannot be written: {error.args[0][0][2]}") from None
    except OSError as error:
        raise SettingsError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    say(f"wrote {toml} and {prompts}/")
    say("next:")
    for command, does in _NEXT:
        say(f"  {command:<48}  {does}")
