"""A container's log over HTTP, as it comes from the node."""

from __future__ import annotations

import asyncio

from orch.bus.streams import FrameStream
from orch.errors import BadRequestError, Cause, InvalidError, StreamClosedError
from orch.objects.pods import Pod
from orch_api.http.exchange import Exchange
from orch_api.http.links import STALLED
from orch_api.http.request import flag, number, text
from orch_api.http.streams.pods import Query, container_of, status_of
from orch_pb.v1 import node_pb2


async def send_logs(exchange: Exchange, stream: FrameStream) -> None:
    """Answer with what comes on `stream` until its end or the client's leaving."""

    async def copy() -> None:
        async for _, data in stream:
            if data is None:
                break
            async with asyncio.timeout(STALLED):
                if not exchange.started:
                    await exchange.start("text/plain")
                await exchange.write(data)

    copying = asyncio.ensure_future(copy())
    gone = asyncio.ensure_future(exchange.gone())
    try:
        await asyncio.wait((copying, gone), return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            copying.result()
    except TimeoutError as error:
        raise StreamClosedError(f"the reader of a log took nothing for {STALLED:g} s") from error
    finally:
        copying.cancel()
        gone.cancel()
        await asyncio.gather(copying, gone, return_exceptions=True)
    if not exchange.started:
        await exchange.answer(200, b"", "text/plain")
    else:
        await exchange.end()


def log_request(pod: Pod, query: Query) -> node_pb2.LogsRequest:
    """Return what to ask the node for. Raises BadRequestError and InvalidError for options that make no sense."""
    container = container_of(pod, text(query, "container"))
    previous = flag(query, "previous")
    status = status_of(pod, container)
    name = pod.metadata.name
    if previous:
        if status is None or status.last_state.terminated is None:
            raise BadRequestError(f'previous terminated container "{container}" in pod "{name}" not found')
    elif status is None or (status.state.waiting is not None and status.last_state.terminated is None):
        reason = status.state.waiting.reason if status is not None and status.state.waiting else "ContainerCreating"
        verb = "trying and failing to pull image" if reason in {"ErrImagePull", "ImagePullBackOff"} else ""
        problem = verb or f"waiting to start: {reason}"
        raise BadRequestError(f'container "{container}" in pod "{name}" is {problem}')
    request = node_pb2.LogsRequest(
        namespace=pod.metadata.namespace,
        pod=name,
        uid=pod.metadata.uid,
        container=container,
        follow=flag(query, "follow"),
        previous=previous,
        timestamps=flag(query, "timestamps"),
        since_time=text(query, "sinceTime"),
    )
    for field, option, least in (
        ("tail_lines", "tailLines", 0),
        ("since_seconds", "sinceSeconds", 1),
        ("limit_bytes", "limitBytes", 1),
    ):
        value = number(query, option)
        if value is None:
            continue
        if value < least:
            bound = "greater than or equal to 0" if least == 0 else "greater than 0"
            problem = Cause("FieldValueInvalid", f"Invalid value: {value}: must be {bound}", option)
            raise InvalidError.of("PodLogOptions", "", name, [problem])
        setattr(request, field, value)
    if request.since_time and request.HasField("since_seconds"):
        problem = Cause(
            "FieldValueForbidden", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", ""
        )
        raise InvalidError.of("PodLogOptions", "", name, [problem])
    return request
