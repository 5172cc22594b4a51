import asyncio
import re
import uuid

import pytest

from orch.errors import (
    AlreadyExistsError,
    BadRequestError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TooLargeError,
)
from orch_api.auth.identity import Caller
from orch_api.pipeline import creation


async def test_the_system_sets_what_only_the_system_may_set(driver, make_pod):
    document = make_pod("a")
    document["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7}
    document["status"] = {"phase": "Running"}
    made = await driver.create("pods", document)
    metadata = made["metadata"]
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata["uid"])
    assert metadata["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert metadata["namespace"] == "default"
    assert made["status"]["phase"] == "Pending"
    assert int(metadata["resourceVersion"]) > 0
    assert (made["kind"], made["apiVersion"]) == ("Pod", "v1")


def test_uids_are_random_and_say_so():
    made = {creation.new_uid() for _ in range(200)}
    assert len(made) == 200
    assert all(str(uuid.UUID(uid)) == uid and uuid.UUID(uid).version == 4 for uid in made)


async def test_the_answer_is_what_a_get_returns(driver, make_pod):
    made = await driver.create("pods", make_pod("a"))
    assert await driver.get("pods", "a") == made


async def test_documents_begin_with_kind_version_and_resource_version(driver, make_pod):
    outcome = await driver.created("pods", make_pod("a"))
    assert outcome.json.startswith(
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"%d",' % outcome.version
    )


async def test_a_taken_name_is_refused(driver, make_pod):
    await driver.create("pods", make_pod("a"))
    with pytest.raises(AlreadyExistsError, match=r'^pods "a" already exists$'):
        await driver.create("pods", make_pod("a"))


async def test_many_at_once_get_one_winner(driver, make_pod):
    results = await asyncio.gather(*(driver.create("pods", make_pod("a")) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, dict) for result in results) == 1
    assert sum(isinstance(result, AlreadyExistsError) for result in results) == 19


async def test_generated_names_use_the_alphabet_of_kubernetes(driver, make_pod):
    made = await driver.create("pods", make_pod())
    assert re.fullmatch(r"pod-[bcdfghjklmnpqrstvwxz2456789]{5}", made["metadata"]["name"])


def test_generated_names_stay_within_63_characters():
    assert len(creation.generate_name("x" * 80)) == 63


async def test_a_generated_name_that_is_taken_is_generated_again(driver, make_pod, monkeypatch):
    names = iter(["pod-1", "pod-1", "pod-2"])
    monkeypatch.setattr(creation, "generate_name", lambda _: next(names))
    assert (await driver.create("pods", make_pod()))["metadata"]["name"] == "pod-1"
    assert (await driver.create("pods", make_pod()))["metadata"]["name"] == "pod-2"


async def test_generated_names_run_out_after_some_attempts(driver, make_pod, monkeypatch):
    monkeypatch.setattr(creation, "generate_name", lambda _: "pod-1")
    await driver.create("pods", make_pod())
    with pytest.raises(AlreadyExistsError):
        await driver.create("pods", make_pod())


async def test_a_job_whose_name_was_taken_is_labelled_with_the_name_that_it_got(driver, monkeypatch):
    names = iter(["job-1", "job-1", "job-2"])
    monkeypatch.setattr(creation, "generate_name", lambda _: next(names))
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
    job = {"metadata": {"generateName": "job-"}, "spec": {"template": {"spec": pod}}}
    await driver.create("jobs", job)
    second = await driver.create("jobs", job)
    assert second["metadata"]["name"] == "job-2"
    labels = second["spec"]["template"]["metadata"]["labels"]
    assert labels["batch.kubernetes.io/job-name"] == "job-2"
    assert labels["batch.kubernetes.io/controller-uid"] == second["metadata"]["uid"]


async def test_a_namespace_that_is_generated_is_labelled_with_the_name_that_it_got(driver, monkeypatch):
    names = iter(["ns-1", "ns-1", "ns-2"])
    monkeypatch.setattr(creation, "generate_name", lambda _: next(names))
    document = {"metadata": {"generateName": "ns-"}}
    await driver.create("namespaces", document)
    made = await driver.create("namespaces", document)
    assert made["metadata"]["labels"]["kubernetes.io/metadata.name"] == "ns-2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metadata": {"name": "a", "namespace": "other"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ({"apiVersion": "v2"}, "the API version in the data (v2) does not match the expected API version (v1)"),
        (
            {"metadata": {"name": "a", "resourceVersion": "5"}},
            "resourceVersion should not be set on objects to be created",
        ),
    ],
)
async def test_what_contradicts_the_request_is_refused(driver, make_pod, change, message):
    with pytest.raises(BadRequestError, match=re.escape(message)):
        await driver.create("pods", make_pod("a") | change)


async def test_another_kind_is_refused(driver, make_pod):
    with pytest.raises(BadRequestError, match="cannot be handled as a Pod"):
        await driver.create("pods", make_pod("a") | {"kind": "Node"})


async def test_without_a_name_the_field_is_named(driver, make_pod):
    document = make_pod("a")
    del document["metadata"]["name"]
    with pytest.raises(InvalidError, match=r"metadata\.name: Required value: name or generateName is required"):
        await driver.create("pods", document)


async def test_unknown_fields_are_refused_warned_of_or_dropped(driver, make_pod):
    with pytest.raises(BadRequestError, match=r'strict decoding error: unknown field "spec\.foo"'):
        await driver.create("pods", make_pod("a", foo=1), field_validation="Strict")
    outcome = await driver.created("pods", make_pod("a", foo=1), field_validation="Warn")
    assert outcome.warnings == ('unknown field "spec.foo"',)
    assert b"foo" not in outcome.json
    assert not (await driver.created("pods", make_pod("b", foo=1), field_validation="Ignore")).warnings


async def test_a_namespace_that_does_not_exist_is_not_found(driver, make_pod):
    with pytest.raises(NotFoundError, match=r'^namespaces "nowhere" not found$'):
        await driver.create("pods", make_pod("a"), namespace="nowhere")


async def test_nothing_new_goes_into_a_namespace_that_is_being_deleted(driver, make_pod):
    await driver.create("namespaces", {"metadata": {"name": "going"}})
    await driver.delete("namespaces", "going")
    await driver.core.cache.catch_up()
    with pytest.raises(ForbiddenError) as refused:
        await driver.create("pods", make_pod("a"), namespace="going")
    assert refused.value.message == (
        'pods "a" is forbidden: unable to create new content in namespace going because it is being terminated'
    )
    assert refused.value.details.causes[0].reason == "NamespaceTerminating"


async def test_what_is_too_large_for_the_store_is_refused(driver):
    document = {"metadata": {"name": "big"}, "data": {str(part): "x" * 400_000 for part in range(4)}}
    with pytest.raises((TooLargeError, InvalidError)):
        await driver.create("configmaps", document)
    annotated = {"metadata": {"name": "big"}, "secrets": [{"name": "x" * 200, "uid": "x" * 1000}] * 1500}
    with pytest.raises(TooLargeError, match="etcdserver: request is too large"):
        await driver.create("serviceaccounts", annotated)
    assert not await driver.exists("serviceaccounts", "big")


async def test_who_may_not_is_refused_before_anything_is_read(driver):
    nobody = Caller("nobody", ("system:authenticated",))
    with pytest.raises(ForbiddenError, match='User "nobody" cannot create resource "pods" in API group ""'):
        await driver.created("pods", b"no json at all", caller=nobody)


async def test_a_dry_run_stores_nothing_but_says_what_would_be(driver, make_pod):
    made = await driver.create("pods", make_pod("a"), dry_run=True)
    assert made["metadata"]["uid"]
    assert not await driver.exists("pods", "a")
    await driver.create("pods", make_pod("a"))
    with pytest.raises(AlreadyExistsError):
        await driver.create("pods", make_pod("a"), dry_run=True)


async def test_the_system_starts_with_its_namespaces_and_its_service(driver):
    names = [item.key.name for item in (await driver.list("namespaces")).items]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    assert (await driver.get("services", "kubernetes"))["spec"]["clusterIP"] == "10.96.0.1"
