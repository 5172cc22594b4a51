"""Batches of writes as etcd transactions, and etcd's answers as outcomes.

One outer transaction carries a nested one for each write, with its own compares: on the key's mod_revision and, when
the write is fenced, on the fence's create_revision. A nest that fails reads the key and the fence, so that the caller
learns which of the two it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from orch.store.places import Places, with_index
from orch.store.protocol import Compare, KeyValue, Write, Written
from orch_pb.etcd import rpc_pb2

_NEVER = -1
"""No key has this create revision; 0 would hold for an absent one."""


def batch_request(writes: Sequence[Write]) -> rpc_pb2.TxnRequest:
    """Return the transaction that commits each of `writes` or leaves it alone. Their keys differ."""
    outer = rpc_pb2.TxnRequest()
    for place, write in enumerate(writes):
        nest = outer.success.add().request_txn
        key = write.key
        if write.expected is not None:
            nest.compare.add(target=rpc_pb2.Compare.MOD, key=key, mod_revision=write.expected)
        if write.value is None:
            nest.success.add().request_delete_range.key = key
        else:
            put = nest.success.add().request_put
            put.key = key
            put.value = with_index(write.value, place)
        nest.failure.add().request_range.key = key
        fence = write.fence
        if fence is not None:
            created = fence.create_revision if fence.create_revision > 0 else _NEVER
            nest.compare.add(target=rpc_pb2.Compare.CREATE, key=fence.key, create_revision=created)
            nest.failure.add().request_range.key = fence.key
    return outer


def outcomes(writes: Sequence[Write], response: rpc_pb2.TxnResponse) -> list[Written]:
    """Return what became of each of `writes`; places of deletions are what a watch will show."""
    revision = response.header.revision
    places = Places()
    results: list[Written] = []
    for place, (write, operation) in enumerate(zip(writes, response.responses, strict=True)):
        nest = operation.response_txn
        if not nest.succeeded:
            results.append(_refused(write.fence, nest, revision))
        elif write.value is not None:
            results.append(Written(True, revision, places.put(revision, place)))
        elif nest.responses[0].response_delete_range.deleted:
            results.append(Written(True, revision, places.deletion(revision)))
        else:
            results.append(Written(True, revision))
    return results


def _refused(fence: Compare | None, nest: rpc_pb2.TxnResponse, revision: int) -> Written:
    if fence is not None:
        holder = nest.responses[1].response_range.kvs
        if not holder or holder[0].create_revision != fence.create_revision:
            return Written(False, revision, fenced=True)
    found = nest.responses[0].response_range.kvs
    return Written(False, revision, current=key_value(found[0]) if found else None)


def acquire_request(key: bytes, value: bytes, lease: int) -> rpc_pb2.TxnRequest:
    """Return the transaction that creates `key` bound to `lease`, or reads it when it exists."""
    request = rpc_pb2.TxnRequest()
    request.compare.add(target=rpc_pb2.Compare.CREATE, key=key, create_revision=0)
    request.success.add(request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease))
    request.failure.add(request_range=rpc_pb2.RangeRequest(key=key))
    return request


def key_value(found: rpc_pb2.KeyValue) -> KeyValue:
    """Return etcd's key as the store's."""
    return KeyValue(found.key, found.value, found.mod_revision, found.create_revision, found.lease)
