"""Which slices to write so that they hold what they shall, with as few writes as can be (k8s.io/endpointslice). Pure.

An endpoint stays in its slice. New ones go first into slices that are written anyway, then into one that has room for
all of them, then into new slices. Emptied slices are used again for new ones before they are deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from orch.objects.discovery import Endpoint, EndpointPort, EndpointSlice

Ports = tuple[EndpointPort, ...]


class Draft(msgspec.Struct, frozen=True):
    """What a slice shall hold. `current` is the slice to be written, None when it is a new one."""

    ports: Ports
    endpoints: tuple[Endpoint, ...]
    current: EndpointSlice | None = None


class Plan(msgspec.Struct, frozen=True):
    """What to write and what to delete."""

    write: tuple[Draft, ...]
    delete: tuple[EndpointSlice, ...]


def plan(
    existing: Iterable[EndpointSlice],
    desired: Mapping[Ports, Sequence[Endpoint]],
    labels: Mapping[str, str],
    most: int,
) -> Plan:
    """Return how to bring the slices of one address type to what is desired, at most so many endpoints in each.

    A service without endpoints keeps one slice without any, so that it can be told from one nobody has looked at.
    """
    known: dict[Ports, list[EndpointSlice]] = {}
    for slice_ in sorted(existing, key=lambda each: each.metadata.name):
        known.setdefault(slice_.ports, []).append(slice_)
    wanted = dict(desired) or {(): []}
    writes: list[Draft] = []
    emptied: list[EndpointSlice] = []
    for ports, endpoints in wanted.items():
        part = _pack(known.pop(ports, []), ports, endpoints, labels, most)
        writes += part.write
        emptied += part.delete
    emptied += [slice_ for slices in known.values() for slice_ in slices]
    return _reusing(writes, emptied)


class _Filling(msgspec.Struct):
    current: EndpointSlice
    endpoints: list[Endpoint]
    changed: bool


def _pack(
    existing: Sequence[EndpointSlice],
    ports: Ports,
    desired: Sequence[Endpoint],
    labels: Mapping[str, str],
    most: int,
) -> Plan:
    """Plan the slices that share their ports."""
    waiting = {_identity(endpoint): endpoint for endpoint in desired}
    kept, emptied = _keep(existing, waiting, labels, empty=not desired)
    left = list(waiting.values())
    for filling in sorted((each for each in kept if each.changed), key=lambda each: -len(each.endpoints)):
        left = _fill(filling, left, most)
    if left and len(left) < most:
        roomy = [each for each in kept if not each.changed and len(each.endpoints) + len(left) <= most]
        if roomy:
            left = _fill(max(roomy, key=lambda each: len(each.endpoints)), left, most)
    writes = [Draft(ports, tuple(each.endpoints), each.current) for each in kept if each.changed]
    writes += [Draft(ports, tuple(left[start : start + most])) for start in range(0, len(left), most)]
    if not desired and not kept:
        writes.append(Draft(ports, ()))
    return Plan(tuple(writes), tuple(emptied))


def _keep(
    existing: Sequence[EndpointSlice],
    waiting: dict[tuple[object, ...], Endpoint],
    labels: Mapping[str, str],
    *,
    empty: bool,
) -> tuple[list[_Filling], list[EndpointSlice]]:
    """Return the slices that stay, with what stays in them, and those that are empty now. Takes from `waiting`."""
    kept: list[_Filling] = []
    emptied: list[EndpointSlice] = []
    for slice_ in existing:
        places = (waiting.pop(_identity(endpoint), None) for endpoint in slice_.endpoints)
        endpoints = [found for found in places if found is not None]
        if not endpoints and not (empty and not kept and not slice_.endpoints):
            emptied.append(slice_)
            continue
        changed = tuple(endpoints) != slice_.endpoints or slice_.metadata.labels != labels
        kept.append(_Filling(slice_, endpoints, changed))
    return kept, emptied


def _fill(filling: _Filling, left: list[Endpoint], most: int) -> list[Endpoint]:
    """Put into a slice what it has room for; return what is left."""
    room = max(most - len(filling.endpoints), 0)
    if room and left:
        filling.endpoints += left[:room]
        filling.changed = True
    return left[room:]


def _reusing(writes: Sequence[Draft], emptied: Sequence[EndpointSlice]) -> Plan:
    """Let new slices take the place of those that would be deleted."""
    free = list(emptied)
    reused = [
        msgspec.structs.replace(draft, current=free.pop(0)) if draft.current is None and free else draft
        for draft in writes
    ]
    return Plan(tuple(reused), tuple(free))


def _identity(endpoint: Endpoint) -> tuple[object, ...]:
    """Return what makes an endpoint the same one although its state changes."""
    target = endpoint.target_ref
    who = (target.kind, target.namespace, target.name) if target is not None else ()
    return endpoint.addresses, endpoint.hostname or "", who
