"""The last words of a container: what it left in its file, else, where that is wanted, the end of its log."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import Final

from orch.errors import UnavailableError
from orch.objects.pods import Container
from orch_agent.pods.host import PodHost
from orch_agent.runtimes.protocol import ContainerError, ContainerInfo, LogQuery

_LOG: Final = logging.getLogger(__name__)
_LOG_LINES: Final = 80
_LOG_BYTES: Final = 2048
_FROM_LOG: Final = "FallbackToLogsOnError"


async def last_words(host: PodHost, container: Container, ended: ContainerInfo) -> str:
    """Return a container's termination message: at most 4 KiB of its file, or 80 lines and 2 KiB of its log."""
    uid, attempt = ended.identity.uid, ended.identity.attempt
    words = ended.message or await host.files.termination_message(uid, container.name, attempt)
    if words or not ended.exit_code or container.termination_message_policy != _FROM_LOG:
        return words
    written = bytearray()
    try:
        async with aclosing(host.runtime.logs(ended.id, LogQuery(tail=_LOG_LINES))) as batches:
            async for lines in batches:
                for line in lines:
                    written += line.data
                del written[:-_LOG_BYTES]
    except (ContainerError, UnavailableError) as error:
        _LOG.warning("the log of container %s in pod %s cannot be read: %s", container.name, uid, error)
        return f"Error reading termination message from logs: {error}"
    return written.decode(errors="replace")
