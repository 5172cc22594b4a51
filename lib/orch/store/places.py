"""A change's place among those that share its revision: how it is stored in values and found again by watches.

A put's place is its place in the transaction, stored as the first field of the value (StoredObject.index). A deletion
leaves no value, so it takes the place after its predecessor's in the same revision, 0 when it is the first. A watch
of a narrow range that hides the predecessor therefore sees a smaller place than the writer was told: places order
the changes of a watch and tell them apart, and equal the writer's on a watch of everything.
"""

from __future__ import annotations

_INDEX_TAG = 0x08


def with_index(value: bytes, index: int) -> bytes:
    """Return `value`, an encoded StoredObject without its index, with field 1 in front of the others."""
    if index < 0x80:
        return bytes((_INDEX_TAG, index)) + value
    return bytes((_INDEX_TAG, index & 0x7F | 0x80, index >> 7)) + value


def index_of(value: bytes) -> int:
    """Return the index that `value` starts with, 0 when it has none: it was not written by the committer."""
    if len(value) < 2 or value[0] != _INDEX_TAG:
        return 0
    if value[1] < 0x80:
        return value[1]
    return value[1] & 0x7F | value[2] << 7 if len(value) > 2 else 0


class Places:
    """Hands out the places of changes that are shown to it in their order."""

    __slots__ = ("_last", "_revision")

    def __init__(self) -> None:
        self._revision = 0
        self._last = -1

    def put(self, revision: int, index: int) -> int:
        """Note a put with its own index, and return that."""
        self._revision, self._last = revision, index
        return index

    def deletion(self, revision: int) -> int:
        """Return the place of a deletion."""
        return self.put(revision, self._last + 1 if revision == self._revision else 0)
