"""The wire form of each backend, by its name in a rubric."""

from collections.abc import Mapping

from worker.judge.wire import Wire
from worker.judge.wire_chat import ChatWire
from worker.judge.wire_decisions import DecisionsWire
from worker.judge.wire_responses import ResponsesWire
from worker.records import Backend

WIRES: Mapping[Backend, Wire] = {"chat": ChatWire(), "responses": ResponsesWire(), "decisions": DecisionsWire()}
