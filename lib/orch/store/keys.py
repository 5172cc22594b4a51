"""The keys in etcd, built and parsed here only.

/orch/objects/<group>/<resource>/<namespace>/<name>    an API object; "core" for the core group, "-" for no namespace
/orch/leaders/<component>                              a leader's lease key
/orch/claims/<group>/<resource>/<claim>                what one object alone may hold, such as a service's address
/orch/revision                                         never written: what is read by who wants to know the revision
"""

from __future__ import annotations

import msgspec

ROOT = b"/orch/"
OBJECTS = b"/orch/objects/"
LEADERS = b"/orch/leaders/"
CLAIMS = b"/orch/claims/"
REVISION = b"/orch/revision"

EVERYTHING = (b"\x00", b"\x00")
"""The range of all keys: watching it, progress follows every revision, whatever is written."""

_CORE = "core"
_CLUSTER = "-"


class ObjectKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """Names one object. `group` and `namespace` are empty for the core group and for cluster scope."""

    group: str
    resource: str
    namespace: str
    name: str


def object_key(key: ObjectKey) -> bytes:
    """Return the key of an object: /orch/objects/<group>/<resource>/<namespace>/<name>."""
    return f"/orch/objects/{key.group or _CORE}/{key.resource}/{key.namespace or _CLUSTER}/{key.name}".encode()


def objects_prefix(group: str, resource: str, namespace: str | None = None) -> bytes:
    """Return the prefix of a resource's objects, in one namespace or ("" and None) in all."""
    if namespace:
        return f"/orch/objects/{group or _CORE}/{resource}/{namespace}/".encode()
    return f"/orch/objects/{group or _CORE}/{resource}/".encode()


def parse_object_key(key: bytes) -> ObjectKey | None:
    """Return what the key names, None when it is not an object's."""
    if not key.startswith(OBJECTS):
        return None
    parts = key[len(OBJECTS) :].decode().split("/")
    if len(parts) != 4:
        return None
    group, resource, namespace, name = parts
    return ObjectKey("" if group == _CORE else group, resource, "" if namespace == _CLUSTER else namespace, name)


def resource_prefix(name: str) -> bytes:
    """Return the prefix of what a resource's name covers: "secrets", "jobs.batch", "*.apps", "*." (core), "*.*"."""
    if name == "*.*":
        return OBJECTS
    plural, _, group = name.partition(".")
    return f"/orch/objects/{group or _CORE}/".encode() if plural == "*" else objects_prefix(group, plural)


def resource_of(key: bytes) -> str:
    """Return the resource that an object's key or prefix belongs to, "" for others: a label for metrics."""
    parts = key.split(b"/", 5)
    return parts[4].decode() if len(parts) > 4 and parts[2] == b"objects" else ""


def leader_key(component: str) -> bytes:
    """Return the key of a component's leader lease: /orch/leaders/<component>."""
    return f"/orch/leaders/{component}".encode()


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key after all that start with `prefix`."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def claim_key(group: str, resource: str, claim: str) -> bytes:
    """Return the key that marks `claim` as taken: /orch/claims/<group>/<resource>/<claim>."""
    return f"/orch/claims/{group or _CORE}/{resource}/{claim}".encode()


def claims_prefix(group: str, resource: str) -> bytes:
    """Return the prefix of a resource's claims."""
    return f"/orch/claims/{group or _CORE}/{resource}/".encode()


def parse_claim_key(key: bytes) -> tuple[str, str, str] | None:
    """Return (group, resource, claim), None when the key is no claim's."""
    if not key.startswith(CLAIMS):
        return None
    parts = key[len(CLAIMS) :].decode().split("/", 2)
    if len(parts) != 3:
        return None
    group, resource, claim = parts
    return "" if group == _CORE else group, resource, claim
