"""A demo's folder: whose it is, what lies in it, and settings that tell a stranger what they look at."""

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
"""How the settings of every demo's folder begin; a folder without it is not overwritten."""
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
"""Inclusion probabilities: enough of each task type that may get worse to see twenty points within about a week."""
INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK = 0.25, 2.0
"""An example price, so that there is something to add up; the simulated judge is free."""


def prepare(folder: Path, seed: int, last: date) -> str:
    """Make a folder ready for a demo: new, empty, or one that a demo made before, whose history goes.

    Only what a demo writes is removed; anything else that lies there stays.

    Returns:
        The text of its settings.

    Raises:
        SettingsError: The folder holds something and is not a demo's.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file; name a folder for the demo with --dir")
    if folder.exists() and any(folder.iterdir()) and not _is_ours(folder):
        raise SettingsError(f"{folder} is not a demo's folder and is left alone; name another with --dir")
    folder.mkdir(parents=True, exist_ok=True)
    words = text(seed, last)
    (folder / TOML).write_text(words, encoding="utf-8")  # first: a demo that is interrupted leaves a demo's folder
    for old in (*folder.glob(f"{DATABASE}*"), folder / REPORT):
        old.unlink(missing_ok=True)
    shutil.rmtree(folder / "spotcheck.broker", ignore_errors=True)
    return words


def _is_ours(folder: Path) -> bool:
    try:
        return (folder / TOML).read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False


def elsewhere(environ: Mapping[str, str]) -> list[str]:
    """Variables of a shell that would lead commands in the folder away from it."""
    names = ("SPOTCHECK_DATABASE_URL", "SPOTCHECK_JUDGE_MODEL", "SPOTCHECK_PROMPTS", "SPOTCHECK_CLOCK")
    return [name for name in names if environ.get(name, "").strip()]


def call(folder: Path, started: str | None = None, python: str | None = None) -> str:
    """How to start this same Spotcheck in the demo's folder: by name where the shell finds it, else by its path.

    Args:
        folder: Where the reader will be.
        started: What this process was started as; `sys.argv[0]`.
        python: Its interpreter; `sys.executable`.
    """
    started, python = started or sys.argv[0], python or sys.executable
    own = Path(started) if Path(started).name == "spotcheck" else Path(python).with_name("spotcheck")
    found = shutil.which("spotcheck")
    if not own.is_file():
        return "spotcheck" if found else f"{_from(folder, Path(python))} -m worker"
    return "spotcheck" if found and own.samefile(found) else _from(folder, own)


def _from(folder: Path, program: Path) -> str:
    """A program's path as one would type it in a folder; its own link is kept, for it makes a virtual environment."""
    whole = program.absolute().parent.resolve() / program.name
    return shlex.quote(min(os.path.relpath(whole, folder.resolve()), str(whole), key=len))


def text(seed: int, last: date) -> str:
    """The `spotcheck.toml` of a demo.

    Args:
        seed: Of its history.
        last: Its newest night.
    """
    rates = "\n".join(f"[sampling.task_types.{name}]\nrate = {rate}" for name, rate in RATES.items())
    return f"""\
{MARK} (seed {seed}, nights to {last}); `spotcheck demo` makes it anew.
#
# The runs are made up, and so is the judge: it lived in the demo's process and is gone. Every night of the history is
# scored, so nothing here needs it: trends, drift, alerts, runs, show, explain, status and report all work, and
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
# Nobody listens there now. `python -m worker.demo.judge.server` does, but knows no truth: its verdicts are chance.
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
    """A JSON value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return orjson.dumps(value).decode()
