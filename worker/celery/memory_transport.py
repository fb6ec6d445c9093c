"""kombu's broker in the memory of one process, which drops what is no message."""

from kombu.transport import memory

from worker.celery.messages import CheckedTransport


class MemoryTransport(CheckedTransport, memory.Transport):
    """kombu's, with a look at each message."""
