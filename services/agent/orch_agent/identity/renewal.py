"""Keeps the node's certificate valid: a new one is asked for, with the old one, well before its end.

The connection to the bus stands: a certificate counts when a connection is made, and the next one takes the new file.
"""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from orch.clock import Clock
from orch.errors import OrchError
from orch_agent.identity.api import connect
from orch_agent.identity.certificate import obtain, span_of

log = logging.getLogger(__name__)

RENEWED: Final = Counter("orch_agent_certificates_renewed", "Certificates of the node that were renewed")
FAILURES: Final = Counter("orch_agent_certificate_failures", "Times that the node's certificate was not renewed")
ENDS: Final = Gauge("orch_agent_certificate_ends_seconds", "When the node's certificate ends, since the epoch")

_EARLIEST: Final = 0.7
_LATEST: Final = 0.9
"""Of a certificate's life, as kubelet has it; at random in between, so that nodes do not come together."""
_FIRST_BACKOFF: Final = 1.0
_LAST_BACKOFF: Final = 300.0
_LONGEST_SLEEP: Final = 3600.0
"""The machine's clock may be set meanwhile."""
_SHORTEST_SLEEP: Final = 1.0
"""What is left may be less than the clock tells apart."""


class CertificateRenewal:
    """Renews one node's certificate. `file`: certificate and key; `authority`: whom the api's is signed by."""

    def __init__(self, server: str, node: str, file: Path, authority: Path, clock: Clock) -> None:
        self._server = server
        self._node = node
        self._file = file
        self._authority = authority
        self._clock = clock
        self._share = random.SystemRandom().uniform(_EARLIEST, _LATEST)

    async def run(self) -> None:
        """Renew the certificate again and again, for ever. What fails is tried again, and logged."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                left = await asyncio.to_thread(self._left)
                if left > 0:
                    await self._clock.sleep(max(min(left, _LONGEST_SLEEP), _SHORTEST_SLEEP))
                    continue
                await asyncio.to_thread(self.renew)
            except (OrchError, OSError, ValueError) as error:
                FAILURES.inc()
                log.warning("the node's certificate is not renewed, next try in %.0f s: %s", backoff, error)
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, _LAST_BACKOFF)
            else:
                RENEWED.inc()
                backoff = _FIRST_BACKOFF
                log.info("the node has a new certificate")

    def renew(self) -> None:
        """Get a new certificate now. Raises OrchError, and OSError for files that cannot be read or written."""
        api = connect(self._server, self._authority.read_text(), certificate=self._file)
        obtain(api, self._node, self._file)

    def _left(self) -> float:
        """Return in how many seconds the certificate is due."""
        span = span_of(self._file)
        ENDS.set(span.ends)
        return span.begins + (span.ends - span.begins) * self._share - self._clock.now().timestamp()
