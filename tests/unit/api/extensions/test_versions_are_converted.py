"""Several versions of a kind: converted by name alone, or by a webhook."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from asgi import Answer
from conversion_server import ConversionServer
from definitions import DEFINITIONS, GROUP, Extended, custom, definition, version
from https_server import https_server

MERGE = {"content_type": "application/merge-patch+json"}
HOST = {"hostPort": {"type": "string"}, "only": {"type": "string"}}
SPLIT = {"host": {"type": "string"}, "port": {"type": "integer"}, "made": {"type": "string", "default": "yes"}}


def two_versions(**more: Any) -> dict[str, Any]:
    return definition(version("v1", SPLIT, storage=False), version("v1beta1", HOST), **more)


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[ConversionServer]:
    found = ConversionServer(certificates.make(tmp_path, "converter.default.svc"))
    async with https_server(found.files, found) as found.port:
        yield found


async def write(api: Extended, name: str, api_version: str, spec: Any) -> Answer:
    return await api.create(custom(name, spec, api_version=api_version))


async def test_without_a_webhook_only_the_version_changes(api: Extended) -> None:
    await api.define(two_versions())
    made = (await write(api, "a", "v1", {"host": "h", "port": 1})).json
    assert made["apiVersion"] == f"{GROUP}/v1"
    assert made["spec"] == {"host": "h", "port": 1, "made": "yes"}
    old = (await api.http("GET", api.path("a", "v1beta1"))).json
    assert old["apiVersion"] == f"{GROUP}/v1beta1"
    assert old["spec"] == {}, "what a version does not know is not shown in it"
    listed = (await api.http("GET", api.path(api_version="v1"))).json
    assert listed["items"] == [made]
    await api.http("PATCH", api.path("a", "v1"), {"spec": {"port": 2}}, **MERGE)
    assert (await api.http("GET", api.path("a", "v1"))).json["spec"]["port"] == 2


async def test_what_is_written_is_judged_by_the_version_of_the_request(api: Extended) -> None:
    few = {"count": {"type": "integer", "maximum": 3}}
    many = {"count": {"type": "integer", "maximum": 9}}
    await api.define(definition(version("v1", many), version("v1beta1", few, storage=False)))
    refused = await write(api, "a", "v1beta1", {"count": 5})
    assert refused.status == 422
    assert "spec.count in body should be less than or equal to 3" in refused.json["message"]
    assert (await write(api, "a", "v1", {"count": 5})).status == 201
    old = api.path("a", "v1beta1")
    refused = await api.http("PATCH", old, {"spec": {"count": 6}}, **MERGE)
    assert refused.status == 422
    assert (await api.http("PATCH", old, {"spec": {"count": 2}}, **MERGE)).json["spec"]["count"] == 2
    assert (await api.http("PATCH", api.path("a", "v1"), {"spec": {"count": 7}}, **MERGE)).status == 200


async def test_a_version_that_is_stored_but_not_served(api: Extended) -> None:
    both = definition(version("v1", SPLIT, storage=False), version("v1alpha1", SPLIT, served=False))
    await api.define(both)
    made = (await write(api, "a", "v1", {"host": "h"})).json
    assert (await api.http("GET", api.path("a", "v1"))).json == made
    assert (await api.http("GET", api.path("a", "v1alpha1"))).status == 404


async def test_a_webhook_converts_both_ways(api: Extended, webhook: ConversionServer) -> None:
    await api.define(two_versions(conversion=webhook.config()))
    made = (await write(api, "a", "v1", {"host": "h", "port": 80})).json
    assert made["spec"] == {"host": "h", "port": 80, "made": "yes"}
    review = webhook.asked[0].json
    assert (review["kind"], review["apiVersion"]) == ("ConversionReview", "apiextensions.k8s.io/v1")
    assert review["request"]["desiredAPIVersion"] == f"{GROUP}/v1beta1"
    assert webhook.asked[0].target == "/convert?timeout=30s"
    old = (await api.http("GET", api.path("a", "v1beta1"))).json
    assert old["spec"] == {"hostPort": "h:80"}
    assert old["metadata"]["uid"] == made["metadata"]["uid"]
    await write(api, "b", "v1beta1", {"hostPort": "g:81"})
    before = len(webhook.asked)
    listed = (await api.http("GET", api.path(api_version="v1"))).json
    assert [one["spec"]["port"] for one in listed["items"]] == [80, 81]
    assert len(webhook.asked) == before + 1, "a list is one question"
    patched = await api.http("PATCH", api.path("b", "v1"), {"spec": {"port": 82}}, **MERGE)
    assert patched.json["spec"]["port"] == 82
    assert (await api.http("GET", api.path("b", "v1beta1"))).json["spec"]["hostPort"] == "g:82"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda review: review["response"].update(result={"status": "Failure", "message": "cannot"}),
            "conversion webhook for stable.example.com/v1, Kind=CronTab failed: cannot",
        ),
        (
            lambda review: review["response"].update(uid="x"),
            'conversion webhook for stable.example.com/v1, Kind=CronTab failed: expected response.uid="',
        ),
        (
            lambda review: review.update(kind="Other"),
            (
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, "
                "got apiextensions.k8s.io/v1, "
                "Kind=Other"
            ),
        ),
        (
            lambda review: review["response"].update(convertedObjects=[]),
            "conversion webhook for stable.example.com/v1, Kind=CronTab returned 0 objects, expected 1",
        ),
        (
            lambda review: review["response"]["convertedObjects"][0].update(apiVersion="x/v9"),
            (
                "returned invalid converted object at index 0: invalid groupVersion "
                "(expected stable.example.com/v1beta1, "
                "received x/v9)"
            ),
        ),
        (
            lambda review: review["response"]["convertedObjects"][0]["metadata"].update(name="b"),
            "returned invalid converted object at index 0: must have the same name: a != b",
        ),
        (lambda review: review.pop("response"), "failed: no response provided"),
    ],
)
async def test_what_a_webhook_may_not_do(api: Extended, webhook: ConversionServer, change: Any, problem: str) -> None:
    await api.define(two_versions(conversion=webhook.config()))
    webhook.change = change
    answer = await write(api, "a", "v1", {"host": "h"})
    assert answer.status == 500
    assert problem in answer.json["message"]


async def test_of_the_metadata_a_webhook_changes_labels_and_annotations_only(
    api: Extended, webhook: ConversionServer
) -> None:
    await api.define(two_versions(conversion=webhook.config()))

    def change(review: Any) -> None:
        review["response"]["convertedObjects"][0]["metadata"].update(labels={"a": "b"}, finalizers=["x.y/z"])

    webhook.change = change
    made = (await write(api, "a", "v1", {"host": "h"})).json
    assert made["metadata"]["labels"] == {"a": "b"}
    assert "finalizers" not in made["metadata"]


async def test_a_webhook_that_fails_or_cannot_be_trusted(api: Extended, webhook: ConversionServer) -> None:
    await api.define(two_versions(conversion=webhook.config()))
    webhook.status = 503
    answer = await write(api, "a", "v1", {"host": "h"})
    assert "the server responded with the status code 503" in answer.json["message"]
    stranger = webhook.config(caBundle=None)
    await api.http("PATCH", f"{DEFINITIONS}/crontabs.{GROUP}", {"spec": {"conversion": stranger}}, **MERGE)
    webhook.status = 200
    removed = {"webhook": {"clientConfig": {"caBundle": None}}}
    await api.http("PATCH", f"{DEFINITIONS}/crontabs.{GROUP}", {"spec": {"conversion": removed}}, **MERGE)
    await api.http("GET", "/apis")  # which waits until this process knows
    answer = await write(api, "a", "v1", {"host": "h"})
    assert answer.status == 500
    assert f'failed: Post "https://127.0.0.1:{webhook.port}/convert?timeout=30s"' in answer.json["message"]
    assert "certificate verify failed" in answer.json["message"]


async def test_a_webhook_behind_a_service(api: Extended, webhook: ConversionServer) -> None:
    service = {
        "metadata": {"name": "converter"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    made = await api.http("POST", "/api/v1/namespaces/default/services", service)
    assert made.status == 201, made.body
    reference = {"name": "converter", "namespace": "default", "path": "/c", "port": webhook.port}
    await api.define(two_versions(conversion=webhook.config(url=None, service=reference)))
    answer = await write(api, "a", "v1", {"host": "h", "port": 5})
    assert answer.status == 201, answer.body
    assert webhook.asked[0].target == "/c?timeout=30s"
    assert webhook.asked[0].all("host") == [f"converter.default.svc:{webhook.port}"]


async def test_what_is_stored_is_of_the_stored_version(api: Extended, webhook: ConversionServer) -> None:
    await api.define(two_versions(conversion=webhook.config()))
    await write(api, "a", "v1", {"host": "h", "port": 80})
    webhook.asked.clear()
    old = (await api.http("GET", api.path("a", "v1beta1"))).json
    assert old["spec"] == {"hostPort": "h:80"}
    assert webhook.asked == [], json.dumps([one.json for one in webhook.asked])
