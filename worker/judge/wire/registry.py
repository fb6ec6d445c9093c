"""The wire form of each backend, by its name in a rubric."""

from collections.abc import Mapping

from worker.judge.wire.chat import ChatWire
from worker.judge.wire.decisions import DecisionsWire
from worker.judge.wire.protocol import Wire
from worker.judge.wire.responses import ResponsesWire
from worker.records import Backend

WIRES: Mapping[Backend, Wire] = {"chat": ChatWire(), "responses": ResponsesWire(), "decisions": DecisionsWire()}
