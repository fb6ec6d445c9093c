"""Which tool calls of real runs count as failed, and samples of both kinds to read by hand.

    python -m bench.tool_failures RUNS.jsonl.gz             # counts beside the errors that were noted
    python -m bench.tool_failures RUNS.jsonl.gz --read 100  # and a sample of hits and passes, to be read and judged

RUNS is a file of runs such as ../shared/data/runs.jsonl.gz. The errors that its steps note are withheld, so that a
failure must be found in what the tool said; how many of the noted ones are found is the recall on this file. What share
of the hits is true, and of the passes missed, only a reader can say: the samples are drawn with a fixed seed.
"""

import argparse
import gzip
import random
from pathlib import Path

import orjson

from worker.core.intake.values import says_no_error
from worker.core.tool_failure import failure
from worker.records import Step

SEED = 12
_SHOWN = 300


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--read", type=int, default=0, metavar="N", help="print N hits and N passes")
    options = parser.parse_args()
    hits: list[str] = []
    passes: list[str] = []
    noted = found = 0
    with gzip.open(options.runs, "rb") as file:
        for line in file:
            for step in orjson.loads(line).get("steps") or ():
                if step.get("kind") != "tool":
                    continue
                result = step.get("result")
                text = result if isinstance(result, str | None) else orjson.dumps(result).decode()
                is_failed = failure(Step(seq=0, kind="tool", result=text)) is not None
                is_noted = not says_no_error(step.get("error"))
                noted += is_noted
                found += is_noted and is_failed
                (hits if is_failed else passes).append(text or "")
    calls = len(hits) + len(passes)
    print(
        f"{calls:,} tool calls, {len(hits):,} found failed by what they say; {found:,} of {noted:,} noted errors found"
    )
    chance = random.Random(SEED)
    for name, texts in (("HIT", hits), ("PASS", passes)):
        for text in chance.sample(texts, min(options.read, len(texts))):
            print(f"\n{name} {' '.join(text[:_SHOWN].split())}")


if __name__ == "__main__":
    main()
