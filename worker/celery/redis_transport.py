"""kombu's Redis transport, told that a connection which was closed is lost, and not an error of somebody's program.

When Redis goes away while a message is not acknowledged yet, Celery closes the connection and goes on; closing the
channel puts the message back, for which kombu 5.7 wants a new connection from a parent that it has just let go of. That
AttributeError ends the worker. As a lost connection it is passed over, and the worker connects again.
"""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as ConnectionLost


class RedisChannel(redis.Channel):  # type: ignore[misc]  # kombu ships no types
    """kombu's, but a closed one says that it is closed."""

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: ANN401 as kombu's own
        if self.connection is None or self.connection.client is None:
            raise ConnectionLost("the connection to Redis was closed")
        return super()._connparams(asynchronous=asynchronous)


class RedisTransport(redis.Transport):  # type: ignore[misc]  # kombu ships no types
    """kombu's, with our channel."""

    Channel = RedisChannel
