"""The Celery app. `celery -A worker worker` works; importing it connects every signal and registers every task."""

from worker.celery import deadline, heartbeat, lifecycle  # noqa: F401 for their signals
from worker.celery.beat import Ticker as Ticker
from worker.celery.config import QUEUES as QUEUES
from worker.celery.config import app as app
from worker.celery.lifecycle import set_up_logs as set_up_logs
from worker.celery.lifecycle import stop_working as stop_working
from worker.celery.process import this_process as this_process
from worker.celery.tasks import deliver_now as deliver_now
from worker.celery.tasks import drain_batches as drain_batches
from worker.celery.tasks import drain_heuristics as drain_heuristics
from worker.celery.tasks import drain_judge as drain_judge
from worker.celery.tasks import reconcile_now as reconcile_now
from worker.celery.tasks import tick as tick
from worker.celery.waking import wake as wake

use = this_process.use
