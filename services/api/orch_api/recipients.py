"""Whose key a request on the bus names, to which an answer that holds secrets is sealed (orch.bus.vouching)."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from orch.bus.vouching import Purpose, Vouchers
from orch.clock import Clock
from orch.errors import BadRequestError, BusError, ForbiddenError, ServiceUnavailableError
from orch_pb.v1.rpc_pb2 import Recipient

_REFUSED: Final = Counter("orch_api_recipients_refused", "Keys for answers with secrets that were not believed")


class Recipients:
    """Looks at the keys that requests name. Without an authority there is no bus with certificates: any key will do."""

    def __init__(self, authority_file: str, clock: Clock) -> None:
        self._vouchers = Vouchers(authority_file, Purpose.ANSWERS, clock)

    def key_of(self, user: str, recipient: Recipient) -> bytes:
        """Return the key to which an answer for `user` is sealed. Raises BadRequestError, ForbiddenError."""
        if not recipient.key:
            raise BadRequestError("what holds secrets is answered sealed, and the request names no key for the answer")
        try:
            self._vouchers.check(user, recipient)
        except BusError as error:
            raise ServiceUnavailableError(str(error)) from error
        except ValueError as error:
            _REFUSED.inc()
            raise ForbiddenError(f"{user} is sent no secrets under this key: {error}") from error
        return recipient.key
