"""What Redis answers that is no error of ours."""

import pytest
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError

from worker.celery.redis_transport import RedisTransport


@pytest.mark.parametrize("error", [MasterDownError, OutOfMemoryError, ReadOnlyError])
def test_a_redis_that_takes_no_writes_is_a_lost_connection(error: type[Exception]) -> None:
    assert issubclass(error, RedisTransport.recoverable_connection_errors)
    assert issubclass(error, RedisTransport.connection_errors)
