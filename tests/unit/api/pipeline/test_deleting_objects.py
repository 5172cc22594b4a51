import json

import pytest

from orch.errors import BadRequestError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from orch_api.auth.identity import APISERVER as ADMIN
from orch_api.pipeline import WriteOptions


async def bind(driver, name):
    resource = driver.resource("pods")
    from_scheduler = {"target": {"kind": "Node", "name": "n"}}
    await driver.core.pipeline.create(
        ADMIN,
        resource,
        "default",
        json.dumps(from_scheduler).encode(),
        WriteOptions(),
        subresource="binding",
        name=name,
    )


async def test_an_object_that_nothing_holds_is_gone_at_once(driver):
    made = await driver.create("configmaps", {"metadata": {"name": "c"}})
    outcome = await driver.delete("configmaps", "c")
    assert outcome.deleted
    assert json.loads(outcome.json) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "c", "kind": "configmaps", "uid": made["metadata"]["uid"]},
    }
    assert not await driver.exists("configmaps", "c")
    with pytest.raises(NotFoundError):
        await driver.delete("configmaps", "c")


async def test_a_pod_without_a_node_is_gone_at_once(driver, make_pod):
    made = await driver.create("pods", make_pod("a"))
    outcome = await driver.delete("pods", "a")
    assert not await driver.exists("pods", "a")
    shown = json.loads(outcome.json)
    assert shown["metadata"]["uid"] == made["metadata"]["uid"]
    assert shown["metadata"]["resourceVersion"] == str(outcome.version) > made["metadata"]["resourceVersion"]


async def test_a_bound_pod_gets_its_grace_period(driver, make_pod):
    await driver.create("pods", make_pod("a", terminationGracePeriodSeconds=20))
    await bind(driver, "a")
    outcome = await driver.delete("pods", "a")
    assert not outcome.deleted
    metadata = json.loads(outcome.json)["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 20
    assert metadata["deletionTimestamp"] == "2026-01-01T00:00:20Z"
    assert metadata["generation"] == 2


async def test_a_second_deletion_changes_nothing_unless_it_shortens_the_period(driver, make_pod):
    await driver.create("pods", make_pod("a"))
    await bind(driver, "a")
    first = await driver.delete("pods", "a")
    assert (await driver.delete("pods", "a")).version == first.version
    assert (await driver.delete("pods", "a", {"gracePeriodSeconds": 60})).version == first.version
    shorter = json.loads((await driver.delete("pods", "a", {"gracePeriodSeconds": 5})).json)["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] == "2026-01-01T00:00:05Z"


async def test_no_grace_period_removes_a_bound_pod(driver, make_pod):
    await driver.create("pods", make_pod("a"))
    await bind(driver, "a")
    await driver.delete("pods", "a")
    await driver.delete("pods", "a", {"gracePeriodSeconds": 0})
    assert not await driver.exists("pods", "a")


async def test_a_finalizer_holds_the_object_until_it_is_removed(driver):
    await driver.create("configmaps", {"metadata": {"name": "c", "finalizers": ["example.com/hold"]}})
    outcome = await driver.delete("configmaps", "c")
    assert not outcome.deleted
    metadata = json.loads(outcome.json)["metadata"]
    assert (metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"]) == ("2026-01-01T00:00:00Z", 0)
    assert (await driver.delete("configmaps", "c")).version == outcome.version
    last = await driver.patch("configmaps", "c", {"metadata": {"finalizers": None}})
    assert last["metadata"]["name"] == "c"
    assert not await driver.exists("configmaps", "c")


async def test_a_finalizer_cannot_be_added_to_what_is_being_deleted(driver):
    await driver.create("configmaps", {"metadata": {"name": "c", "finalizers": ["example.com/hold"]}})
    await driver.delete("configmaps", "c")
    with pytest.raises(InvalidError, match="no new finalizers can be added if the object is being deleted"):
        await driver.patch("configmaps", "c", {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}})


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        ({"propagationPolicy": "Orphan"}, ["orphan"]),
        ({"orphanDependents": True}, ["orphan"]),
    ],
)
async def test_the_propagation_policy_leaves_a_finalizer_to_the_garbage_collector(driver, options, finalizers):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    outcome = await driver.delete("configmaps", "c", options)
    assert json.loads(outcome.json)["metadata"]["finalizers"] == finalizers


async def test_background_takes_an_earlier_policy_back(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    await driver.delete("configmaps", "c", {"propagationPolicy": "Foreground"})
    assert not (await driver.delete("configmaps", "c")).deleted
    assert (await driver.delete("configmaps", "c", {"propagationPolicy": "Background"})).deleted


async def test_preconditions_protect_another_object_of_the_same_name(driver):
    made = (await driver.create("configmaps", {"metadata": {"name": "c"}}))["metadata"]
    with pytest.raises(ConflictError, match="Precondition failed: UID in precondition: other, UID in object meta: "):
        await driver.delete("configmaps", "c", {"preconditions": {"uid": "other"}})
    with pytest.raises(ConflictError, match="ResourceVersion in precondition: 1, ResourceVersion in object meta: "):
        await driver.delete("configmaps", "c", {"preconditions": {"resourceVersion": "1"}})
    fitting = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    assert (await driver.delete("configmaps", "c", {"preconditions": fitting})).deleted


async def test_options_that_do_not_go_together_are_refused(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    with pytest.raises(InvalidError, match="orphanDependents and deletionPropagation cannot be both set"):
        await driver.delete("configmaps", "c", {"propagationPolicy": "Orphan", "orphanDependents": True})
    with pytest.raises(InvalidError, match='propagationPolicy: Unsupported value: "Sideways"'):
        await driver.delete("configmaps", "c", {"propagationPolicy": "Sideways"})
    with pytest.raises(BadRequestError):
        await driver.delete("configmaps", "c", {"gracePeriodSeconds": "soon"})


async def test_a_dry_run_deletes_nothing(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    assert (await driver.delete("configmaps", "c", dry_run=True)).deleted
    assert (await driver.delete("configmaps", "c", {"dryRun": ["All"]})).deleted
    assert await driver.exists("configmaps", "c")


async def test_a_namespace_stays_until_its_contents_are_finalized(driver):
    await driver.create("namespaces", {"metadata": {"name": "going"}})
    marked = json.loads((await driver.delete("namespaces", "going")).json)
    assert marked["status"]["phase"] == "Terminating"
    assert marked["metadata"]["deletionTimestamp"]
    with pytest.raises(ConflictError, match="The system is ensuring all content is removed from this namespace"):
        await driver.delete("namespaces", "going")
    marked["spec"]["finalizers"] = []
    await driver.update("namespaces", marked, subresource="finalize")
    assert not await driver.exists("namespaces", "going")


async def test_a_namespace_s_finalizers_change_through_finalize_only(driver):
    made = await driver.create("namespaces", {"metadata": {"name": "stays"}})
    made["spec"]["finalizers"] = []
    assert (await driver.update("namespaces", made))["spec"]["finalizers"] == ["kubernetes"]
    assert (await driver.update("namespaces", made, subresource="finalize"))["spec"].get("finalizers", []) == []
    assert (await driver.delete("namespaces", "stays")).deleted


async def test_the_system_s_namespaces_cannot_be_deleted(driver):
    with pytest.raises(
        ForbiddenError, match='namespaces "kube-system" is forbidden: this namespace may not be deleted'
    ):
        await driver.delete("namespaces", "kube-system")


async def test_a_collection_is_deleted_by_its_selector(driver):
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        await driver.create("configmaps", {"metadata": {"name": name, "labels": {"app": app}}})
    where = (ADMIN, driver.resource("configmaps"), "default")
    gone = await driver.core.pipeline.delete_collection(*where, "app=x", "", b"", WriteOptions())
    assert [item.key.name for item in gone] == ["a", "b"]
    assert [item.key.name for item in (await driver.list("configmaps")).items] == ["c"]


async def test_a_service_gives_its_address_back(driver):
    made = await driver.create("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    address = made["spec"]["clusterIP"]
    assert await driver.exists("ipaddresses", address)
    await driver.delete("services", "s")
    assert not await driver.exists("ipaddresses", address)
