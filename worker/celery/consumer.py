"""Celery's consumer, which starts the tasks that messages ask for, and drops what asks for none."""

import logging
from typing import Any

from celery.worker.consumer import Consumer

from worker.celery.messages import NotAMessage, check_task, dropped

log = logging.getLogger("spotcheck")


class CheckedConsumer(Consumer):  # type: ignore[misc]  # celery ships no types
    """Celery's, but what starts no task of ours is dropped."""

    def create_task_handler(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 as celery's
        """What is called with each message of the queues that the worker listens to."""
        start = super().create_task_handler(*args, **options)

        def on_message(message: Any) -> None:  # noqa: ANN401 kombu's Message
            try:
                check_task(message, self.strategies)
            except NotAMessage as why:
                dropped((message.delivery_info or {}).get("routing_key"), why)
                message.reject_log_error(log, self.connection_errors)
            else:
                start(message)

        return on_message
