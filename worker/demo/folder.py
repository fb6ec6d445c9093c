"""The folder of a demo: preparing it, its settings file, and how to run spotcheck in it."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import orjson

from worker.demo.agents.research import SALES_SCHEMA
from worker.demo.judge.wire import MODEL
from worker.errors import SettingsError

DATABASE, TOML, REPORT = "spotcheck.db", "spotcheck.toml", "report.html"
MARK = "# This is the folder of a Spotcheck demo"
"""First line of every demo's settings file; a folder without it is not overwritten."""
PORT = 8098
"""Where `python -m worker.demo.judge.server` listens."""
RATES = {
    "refund": 0.32,
    "billing": 0.34,
    "product_question": 0.32,
    "order_status": 0.05,
    "supplier_research": 0.1,
    "sales_report": 0.1,
}
"""Sampling rates: enough of each task type that may get worse to find a drop of 20 points within about a week."""
INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK = 0.25, 2.0
"""An example price, so that costs are shown; the simulated judge is free."""


def prepare(folder: Path, seed: int, last: date) -> str:
    """Create a demo's folder, or empty that of an earlier demo; other files in it stay.

    Returns:
        The text of its settings file.

    Raises:
        SettingsError: The path is a file, or the folder holds something and is not a demo's.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file; name a folder for the demo with --dir")
    if folder.exists() and any(folder.iterdir()) and not _is_ours(folder):
        raise SettingsError(f"{folder} is not a demo's folder and is left alone; name another with --dir")
    folder.mkdir(parents=True, exist_ok=True)
    words = settings_text(seed, last)
    (folder / TOML).write_text(
        words, encoding="utf-8"
    )  # written first, so that an interrupted demo leaves a folder that the next one accepts
    for old in (*folder.glob(f"{DATABASE}*"), folder / REPORT):
        old.unlink(missing_ok=True)
    shutil.rmtree(folder / "spotcheck.broker", ignore_errors=True)
    return words


def _is_ours(folder: Path) -> bool:
    try:
        return (folder / TOML).read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False


def overriding_variables(environ: Mapping[str, str]) -> list[str]:
    """Names of set environment variables that would override the folder's settings."""
    names = ("SPOTCHECK_DATABASE_URL", "SPOTCHECK_JUDGE_MODEL", "SPOTCHECK_PROMPTS", "SPOTCHECK_CLOCK")
    return [name for name in names if environ.get(name, "").strip()]


def spotcheck_command(folder: Path, started: str | None = None, python: str | None = None) -> str:
    """The command that starts this Spotcheck in the demo's folder: its name where the shell finds it, else its path.

    Args:
        folder: The working folder of the reader.
        started: How this process was started; None for `sys.argv[0]`.
        python: Its interpreter; None for `sys.executable`.
    """
    started, python = started or sys.argv[0], python or sys.executable
    program = Path(started) if Path(started).name == "spotcheck" else Path(python).with_name("spotcheck")
    on_path = shutil.which("spotcheck")
    if not program.is_file():
        return "spotcheck" if on_path else f"{_from(folder, Path(python))} -m worker"
    return "spotcheck" if on_path and program.samefile(on_path) else _from(folder, program)


def _from(folder: Path, program: Path) -> str:
    """A program's path as typed in a folder; a link is not resolved, since it belongs to a virtual environment."""
    whole = program.absolute().parent.resolve() / program.name
    return shlex.quote(min(os.path.relpath(whole, folder.resolve()), str(whole), key=len))


def settings_text(seed: int, last: date) -> str:
    """The text of a demo's `spotcheck.toml`.

    Args:
        seed: Seed of its history.
        last: Its newest night.
    """
    rates = "\n".join(f"[sampling.task_types.{name}]\nrate = {rate}" for name, rate in RATES.items())
    return f"""\
{MARK} (seed {seed}, nights to {last}); `spotcheck demo` makes it anew.
#
# The runs are made up, and the judge was simulated in the demo's process, which has ended. Every night of the history
# is scored, so nothing here needs a judge: trends, drift, alerts, runs, show, explain, status and report all work, and
# `spotcheck nightly` finds no night due. To score runs of your own, `spotcheck init` in another folder.

[sampling]
rate = 0.1
flagged_rate = 0.2
floor_per_night = 2
{rates}

[scoring]
rubrics = ["task_completion"]
[scoring.schemas]
sales_report = {_inline(SALES_SCHEMA)}

[judge]
model = "{MODEL}"
# No server listens there now. `python -m worker.demo.judge.server` starts one whose verdicts are random.
base_url = "http://127.0.0.1:{PORT}/v1"
concurrency = 32
unknown_price = "allow"
[judge.prices."{MODEL}"]            # an example
input_usd_per_mtok = {INPUT_USD_PER_MTOK}
output_usd_per_mtok = {OUTPUT_USD_PER_MTOK}

[alerts]
false_alarms_per_year = 2
run_cost_usd = 1.0
"""


def _inline(value: object) -> str:
    """A JSON value as one line of TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return orjson.dumps(value).decode()
