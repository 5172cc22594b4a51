"""Objects with odd parts are created, replaced, patched and read: no request ends in an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgi import Answer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schema_documents import ObjectOf, definitions, kinds, objects, odd, places
from served_api import ServedApi, collection, sample_of, sampled, served_api

from orch_api.registry import Resource

HONEST = frozenset({501, 503, 504})
UNFIT = "failed to create typed patch object"  # with which Kubernetes, too, answers 500
FORMS = ("application/json;as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf", "application/yaml")


@pytest.fixture(scope="module")
def served() -> Iterator[ServedApi]:
    with served_api() as api:
        yield api


METADATA = {
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "finalizers": ["example.com/hold"],
    "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}],
    "managedFields": [
        {
            "manager": "m",
            "operation": "Update",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {}},
        }
    ],
}


class Objects:
    """Sends documents of one kind, and notes what is wrong with the answers."""

    def __init__(self, served: ServedApi, resource: Resource) -> None:
        self._served = served
        self.resource = resource
        self.definition = kinds()[resource.api_version, resource.kind]
        self.path = collection(resource)
        self.sample: dict[str, Any] = sample_of(resource) or {}
        self.name: str = self.sample.get("metadata", {}).get("name", "")
        self.own = f"{self.path}/{self.name}"
        self.problems = set[str]()

    @property
    def lived(self) -> dict[str, Any]:
        """The sample with what an object gets in its life; draws must not depend on what the server has."""
        return {**self.sample, "metadata": {**self.sample.get("metadata", {}), **METADATA}}

    def send(self, method: str, url: str, body: Any, media_type: str = "application/json") -> Answer:
        answer = self._served(method, url, json.dumps(body).encode(), {"content-type": media_type})
        told = f"{method} {url} {json.dumps(body)[:800]} → {answer.status} {answer.body[:400]!r}"
        if answer.status >= 400:
            said = answer.json
            known = (said["kind"], said["status"], said["code"]) == ("Status", "Failure", answer.status)
            if not known or not said["message"]:
                self.problems.add(f"no Status: {told}")
            if answer.status >= 500 and answer.status not in HONEST and UNFIT not in said["message"]:
                self.problems.add(told)
        return answer

    def read(self) -> None:
        for form in FORMS:
            for url in (self.own, self.path):
                answer = self._served("GET", url, b"", {"accept": form})
                if answer.status not in {200, 404, 405}:
                    self.problems.add(f"GET {url} as {form} → {answer.status} {answer.body[:400]!r}")


@pytest.mark.parametrize("resource", sampled(), ids=lambda one: f"{one.qualified}/{one.version}")
def test_odd_objects_are_answered(served: ServedApi, resource: Resource, examples: int) -> None:
    tested = Objects(served, resource)

    @settings(
        max_examples=3 * examples,  # the first of which is always the plainest
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        live(tested, data.draw)

    run()
    assert not tested.problems, "\n\n".join(sorted(tested.problems))


def live(tested: Objects, draw: Callable[..., Any]) -> None:
    """Lead an object from its creation to its deletion."""
    send, own, definition = tested.send, tested.own, tested.definition
    send("POST", f"{tested.path}?dryRun=All", draw(odd(tested.sample, definition)))
    if not tested.resource.stored:
        return
    if send("POST", tested.path, draw(odd(tested.sample, definition))).status != 201:
        send("POST", tested.path, tested.sample)
    send("PUT", own, draw(odd(tested.lived, definition)))
    part = draw(odd({name: value for name, value in tested.sample.items() if name != "metadata"}, definition))
    for kind in ("merge", "strategic-merge"):
        send("PATCH", own, part, f"application/{kind}-patch+json")
    metadata = part.get("metadata") or {}
    applied = {**part, "metadata": {**metadata, "name": tested.name}} if isinstance(metadata, dict) else part
    send("PATCH", f"{own}?fieldManager=m&force=true", applied, "application/apply-patch+yaml")
    send("PATCH", own, draw(operations(tested.lived, definition)), "application/json-patch+json")
    status = definitions().fields(definition).get("status")
    if status is not None and "status" in tested.resource.subresources:
        send("PUT", f"{own}/status", {**tested.sample, "status": draw(objects(status.ref, 2))})
    tested.read()
    send("DELETE", own, {"gracePeriodSeconds": 0})
    send("PATCH", own, {"metadata": {"finalizers": None}}, "application/merge-patch+json")


@st.composite
def operations(draw: st.DrawFn, document: dict[str, Any], definition: str) -> list[dict[str, Any]]:
    """Draw a JSON patch that fits the document more or less."""
    pointers = [
        "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)
        for path, _ in places(document, ObjectOf(definition))
    ]
    where = st.sampled_from(pointers)
    known = st.sampled_from(("add", "remove", "replace", "move", "copy", "test"))
    value = st.one_of(st.none(), st.text("ab", max_size=2), st.integers(-1, 3), st.just([]), st.just({}))
    one = st.fixed_dictionaries({"op": known, "path": where, "from": where, "value": value})
    return draw(st.lists(one, min_size=1, max_size=3))
