"""Writing a file whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DISK_FULL = "the disk is full; free some space, then repeat the command: nothing is lost"


def is_full(error: OSError) -> bool:
    """Whether there was no room for a file: the disk's, one's share of it, or the longest file that is allowed."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file so that it replaces `path` whole, or leaves what was there as it was.

    A pipe or a device is written to itself, and so is a file in a folder that takes no other.
    """
    target = path.resolve()
    if (target.exists() and not target.is_file()) or not os.access(target.parent, os.W_OK):
        yield path
        return
    part = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield part
        part.replace(target)
    except BaseException:  # Ctrl-C too leaves no part behind; raised again
        with suppress(OSError):
            part.unlink()
        raise
