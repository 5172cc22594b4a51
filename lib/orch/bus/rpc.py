"""Typed requests to the api: protobuf on orch.rpc.<user>.<verb>, answered by whichever api process is free."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from orch.bus import subjects
from orch.bus.protocol import Bus, Message, Subscription
from orch.errors import BusError
from orch_pb.v1.rpc_pb2 import ObjectRef

RequestT = TypeVar("RequestT", bound=ProtoMessage)
ReplyT = TypeVar("ReplyT", bound=ProtoMessage)


async def call(bus: Bus, verb: str, request: ProtoMessage, reply: type[ReplyT], *, timeout: float = 5) -> ReplyT:
    """Return the api's answer to `request`, asked under the bus's own identity.

    Raises UnavailableError when no api answers within `timeout` seconds, BusError when the answer is not a `reply`.
    What the api refuses is no error here: the answer's `status` says so.
    """
    subject = subjects.rpc_subject(bus.user, verb)
    answer = await bus.request(subject, request.SerializeToString(), timeout=timeout)
    return parse(reply, answer, f"the answer on {subject}")


async def serve(
    bus: Bus,
    verb: str,
    request_type: type[RequestT],
    handler: Callable[[str, RequestT], Awaitable[ProtoMessage]],
    *,
    in_flight: int = 256,
) -> Subscription:
    """Answer every user's requests for `verb`, shared with the other api processes. `handler` gets (user, request)."""

    async def answer(message: Message) -> bytes:
        user, _ = subjects.parse_rpc(message.subject)
        _check_sender(user, message)
        request = parse(request_type, message.data, f"the request on {message.subject}")
        reply = await handler(user, request)
        return reply.SerializeToString()

    return await bus.serve(subjects.rpc_requests(verb), answer, service=subjects.API_SERVICE, in_flight=in_flight)


def holds_secrets(ref: ObjectRef) -> bool:
    """Return whether what is said of an object is sealed to who asks (see orch.bus.sealing)."""
    if ref.group:
        return False
    return ref.resource == "secrets" or (ref.resource == "serviceaccounts" and ref.subresource == "token")


def sends_secrets(ref: ObjectRef) -> bool:
    """Return whether what is written of an object is sealed to the api (see orch.bus.sealed_requests)."""
    return not ref.group and ref.resource == "secrets"


def _check_sender(user: str, message: Message) -> None:
    """Refuse a request whose answer would not go to the user who asks.

    The bus's permissions keep users from publishing as another; but a JetStream consumer publishes to any subject
    that its creator names. Its messages carry an acknowledgement subject for a reply, never a user's inbox.
    """
    if not message.reply.startswith(f"{subjects.inbox_prefix(user)}."):
        raise BusError(f"the request on {message.subject} does not ask for an answer to {user}'s own inbox")


def parse(kind: type[ReplyT], data: bytes, what: str) -> ReplyT:
    """Return bytes as the message that they are; `what` names them in the BusError for what is none."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise BusError(f"{what} is not a {kind.DESCRIPTOR.full_name}") from error
