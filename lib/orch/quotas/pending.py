"""What the api has charged to a quota for objects that its controller may not have seen yet.

An object is charged before it is stored, and seen by the controller some time after. A recount in between would forget
it, and more would be let in than the quota allows. So the charge is noted on the quota, as a disruption budget notes
the pods that it has given up (status.disruptedPods), until the controller sees the object or the note is too old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from orch.quantity import Quantity, parse
from orch.quotas.amounts import Amounts

ANNOTATION: Final = "orch.dev/quota-pending"

PATIENCE: Final = 30.0
"""Seconds after which an object that did not come is not expected any more."""

MOST: Final = 1000
"""Notes that a quota holds at most; beyond it the oldest are forgotten, whose objects the controller knows by then."""


class Charge(msgspec.Struct, frozen=True, rename="camel"):
    """What one write was charged with. `after` is the version that the object had before it, 0 for a new one."""

    resource: str
    name: str
    uid: str
    after: int
    at: float
    used: dict[str, str]

    @property
    def amounts(self) -> Amounts:
        """What it is charged with, as amounts."""
        return {name: parse(text) for name, text in self.used.items()}


_decode = msgspec.json.Decoder(tuple[Charge, ...]).decode


def read(annotations: Mapping[str, str] | None) -> tuple[Charge, ...]:
    """Return the charges that a quota's annotations tell of; what users have written there instead is nothing."""
    text = (annotations or {}).get(ANNOTATION)
    if not text:
        return ()
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        return ()


def write(charges: Iterable[Charge]) -> str | None:
    """Return the annotation that tells of charges, None when there are none."""
    listed = list(charges)
    return msgspec.json.encode(listed).decode() if listed else None


def is_awaited(charge: Charge, now: datetime) -> bool:
    """Return whether the object of a charge may still come."""
    return now.timestamp() - charge.at < PATIENCE


def texts(amounts: Mapping[str, Quantity]) -> dict[str, str]:
    """Return amounts as documents hold them."""
    return {name: str(amount) for name, amount in amounts.items()}
