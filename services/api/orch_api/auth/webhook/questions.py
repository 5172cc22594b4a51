"""A decision that is wanted as the SubjectAccessReview that webhooks are sent and that their conditions look at."""

from __future__ import annotations

from typing import Any

from orch_api.auth.attributes import Attributes, Requirement
from orch_api.auth.identity import Caller

Document = dict[str, Any]


def spec_of(caller: Caller, wanted: Attributes, *, groups: str = "groups") -> Document:
    """Return the spec of the review; `groups` is what version of it calls the groups."""
    spec: Document = {}
    if wanted.path is None:
        spec["resourceAttributes"] = _resource(wanted)
    else:
        spec["nonResourceAttributes"] = {"path": wanted.path, "verb": wanted.verb}
    if caller.user:
        spec["user"] = caller.user
    if caller.groups:
        spec[groups] = list(caller.groups)
    if caller.extra:
        spec["extra"] = {key: list(values) for key, values in caller.extra}
    if caller.uid:
        spec["uid"] = caller.uid
    return spec


def _resource(wanted: Attributes) -> Document:
    names = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
    resource: Document = {name: value for name in names if (value := getattr(wanted, name))}
    for name, requirements in (("fieldSelector", wanted.fields), ("labelSelector", wanted.labels)):
        if requirements:
            resource[name] = {"requirements": [_requirement(one) for one in requirements]}
    return resource


def _requirement(one: Requirement) -> Document:
    written: Document = {"key": one.key, "operator": one.operator}
    if one.values:
        written["values"] = list(one.values)
    return written
