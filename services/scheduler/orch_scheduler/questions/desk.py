"""Where questions to the scheduler arrive: one subject a profile and verb, answered from the live columns.

Every scheduler answers, whether it leads or not: who stands by follows the same cluster. A plan is made without
yielding to the event loop, so what a question may cost is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, TypeVar

import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage
from prometheus_client import Counter

from orch.bus.protocol import Bus, Handler, Message
from orch.bus.subjects import SCHEDULER_SERVICE, scheduler_question
from orch.errors import ApiError, BadRequestError
from orch_pb.v1 import question_pb2
from orch_scheduler.questions.room import Room
from orch_scheduler.questions.what_if import what_if
from orch_scheduler.questions.why import explain, why_not

ASKED: Final = Counter("scheduler_questions", "Questions that were answered, by verb and outcome", ("verb", "outcome"))

_IN_FLIGHT: Final = 4

RequestT = TypeVar("RequestT", bound=ProtoMessage)
ReplyT = TypeVar("ReplyT", bound=ProtoMessage)


class Desk:
    """Answers questions about the pods of each profile. `rooms`: what is known, by the profile's name."""

    def __init__(self, bus: Bus, rooms: Mapping[str, Room]) -> None:
        self._bus = bus
        self._rooms = rooms

    async def run(self) -> None:
        """Answer until cancelled."""
        async with AsyncExitStack() as stack:
            for name, room in self._rooms.items():
                for verb, handler in _handlers(room).items():
                    subject = scheduler_question(name, verb)
                    served = await self._bus.serve(subject, handler, service=SCHEDULER_SERVICE, in_flight=_IN_FLIGHT)
                    stack.push_async_callback(served.stop)
            await asyncio.get_running_loop().create_future()


def _handlers(room: Room) -> dict[str, Handler]:
    return {
        "explain": _answering("explain", room, question_pb2.ExplainRequest, question_pb2.ExplainReply, explain),
        "why-not": _answering("why-not", room, question_pb2.WhyNotRequest, question_pb2.WhyNotReply, why_not),
        "what-if": _answering("what-if", room, question_pb2.WhatIfRequest, question_pb2.WhatIfReply, what_if),
    }


def _answering(
    verb: str,
    room: Room,
    request_type: type[RequestT],
    reply_type: Callable[..., ReplyT],
    answer: Callable[[Room, RequestT], ReplyT],
) -> Handler:
    async def handle(message: Message) -> bytes:
        await asyncio.sleep(0)  # one question at a time between two turns of the loop
        try:
            try:
                request = request_type.FromString(message.data)
            except DecodeError as error:
                raise BadRequestError(f"the question cannot be read: {error}") from error
            reply = answer(room, request)
        except (ApiError, ValueError, msgspec.ValidationError) as error:
            refusal = error if isinstance(error, ApiError) else BadRequestError(str(error))
            ASKED.labels(verb, refusal.reason).inc()
            return reply_type(status=refusal.encode()).SerializeToString()
        ASKED.labels(verb, "answered").inc()
        return reply.SerializeToString()

    return handle
