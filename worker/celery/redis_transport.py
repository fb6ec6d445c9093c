"""kombu's Redis transport, told that a connection which was closed is lost, and not an error of somebody's program.

When Redis goes away while a message is not acknowledged yet, Celery closes the connection and goes on; closing the
channel puts the message back, for which kombu 5.7 wants a new connection from a parent that it has just let go of. That
AttributeError ends the worker. As a lost connection it is passed over, and the worker connects again. So it is where
a server becomes a replica, as in a failover: kombu takes that for an error of ours. What stands in a queue and is no
message is dropped.
"""

from queue import Empty
from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError

from worker.celery.messages import UNREADABLE, CheckedTransport, dropped

ROLE_ERRORS = (ReadOnlyError, MasterDownError, OutOfMemoryError)
"""What a server answers that is a replica now, or full: after connecting again the address may lead to the new master,
and a command that finds it full says so in one line, since the ledger keeps the work."""
_ROLE_WORDS = ("UNBLOCKED", "READONLY", "MASTERDOWN", "LOADING", "NOREPLICAS", "TRYAGAIN", "CLUSTERDOWN")


class RedisChannel(redis.Channel):  # type: ignore[misc]  # kombu ships no types
    """kombu's, but a closed one says that it is closed."""

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: ANN401 as kombu's own
        if self.connection is None or self.connection.client is None:
            raise ConnectionLost("the connection to Redis was closed")
        return super()._connparams(asynchronous=asynchronous)

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401 as kombu's own
        """Wait for a message; a server that changes its role wakes whoever waits, with an error like any other."""
        try:
            return super()._brpop_read(**options)
        except ResponseError as error:
            if str(error).startswith(_ROLE_WORDS):
                self.client.connection.disconnect()
                raise ConnectionLost(f"Redis changes its role: {error}") from error
            raise
        except UNREADABLE as error:
            if self.connection.is_delivering:
                raise  # a fault of whoever was given the message
            dropped("a queue", f"it is not JSON ({type(error).__name__})")
            raise Empty from error


class RedisTransport(CheckedTransport, redis.Transport):  # type: ignore[misc]  # kombu ships no types
    """kombu's, with our channel."""

    Channel = RedisChannel
    connection_errors = (*redis.Transport.connection_errors, *ROLE_ERRORS)
    recoverable_connection_errors = connection_errors
