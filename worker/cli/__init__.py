"""The command line: `spotcheck`."""

import contextlib
import gc
import os
import sys

__all__ = ["main"]

_INTERRUPTED = (130, 143)


def main() -> None:
    """Run the command. Ctrl-C is one line from the first moment to the last, while it still loads and while it ends."""
    try:
        if sys.argv[1:2] == ["health"]:
            from worker.cli.process.health import quickly

            if (code := quickly(sys.argv[1:])) is not None:
                sys.exit(code)
        gc.disable()  # as `registry` does while it imports a command
        from worker.cli.app import main as run  # in whose imports people press Ctrl-C too

        run()
    except KeyboardInterrupt:
        os.write(2, b"interrupted\n")
        os._exit(_INTERRUPTED[0])
    except SystemExit as end:
        if end.code not in _INTERRUPTED:
            raise
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(int(end.code))  # threads of this process may be in the middle of something long
