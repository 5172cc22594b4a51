import asyncio

import pytest

from orch.errors import BadRequestError, ConflictError, InvalidError, MethodNotAllowedError, NotFoundError
from orch.store.protocol import Compare
from orch_api.auth.identity import APISERVER
from orch_api.pipeline import WriteOptions


async def test_an_update_with_the_current_version_is_stored(driver):
    made = await driver.create("configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}})
    made["data"]["a"] = "2"
    changed = await driver.update("configmaps", made)
    assert changed["data"] == {"a": "2"}
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert await driver.get("configmaps", "c") == changed


async def test_an_update_with_an_older_version_conflicts(driver):
    made = await driver.create("configmaps", {"metadata": {"name": "c"}})
    await driver.update("configmaps", made | {"data": {"a": "1"}})
    with pytest.raises(ConflictError) as lost:
        await driver.update("configmaps", made | {"data": {"a": "2"}})
    assert lost.value.message == (
        'Operation cannot be fulfilled on configmaps "c": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert (await driver.get("configmaps", "c"))["data"] == {"a": "1"}


async def test_an_update_without_a_version_wins_over_whatever_is_there(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    results = await asyncio.gather(
        *(driver.update("configmaps", {"metadata": {"name": "c"}, "data": {"a": str(n)}}) for n in range(5))
    )
    assert len({result["metadata"]["resourceVersion"] for result in results}) == 5


async def test_an_update_that_changes_nothing_writes_nothing(driver):
    made = await driver.create("configmaps", {"metadata": {"name": "c"}, "data": {"a": "1"}})
    before = await driver.core.store.revision()
    assert await driver.update("configmaps", made) == made
    assert await driver.core.store.revision() == before


async def test_empty_metadata_is_no_metadata(driver):
    made = await driver.create("configmaps", {"metadata": {"name": "c", "labels": {}, "ownerReferences": []}})
    assert not made["metadata"].keys() & {"labels", "ownerReferences"}
    labelled = await driver.update("configmaps", {"metadata": {"name": "c", "labels": {"a": "b"}}})
    labelled["metadata"]["labels"] = {}
    assert "labels" not in (await driver.update("configmaps", labelled))["metadata"]


async def test_an_update_of_what_is_absent_is_not_found(driver):
    with pytest.raises(NotFoundError, match=r'^configmaps "c" not found$'):
        await driver.update("configmaps", {"metadata": {"name": "c"}})


async def test_another_uid_is_a_failed_precondition(driver):
    made = await driver.create("configmaps", {"metadata": {"name": "c"}})
    uid = made["metadata"]["uid"]
    with pytest.raises(
        ConflictError, match=f"Precondition failed: UID in precondition: other, UID in object meta: {uid}"
    ):
        await driver.update("configmaps", {"metadata": {"name": "c", "uid": "other"}, "data": {"a": "1"}})


async def test_the_name_in_the_document_must_be_the_path_s(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    with pytest.raises(BadRequestError, match=r"the name of the object \(d\) does not match the name on the URL \(c\)"):
        await driver.update("configmaps", {"metadata": {"name": "d"}}, name="c")


async def test_what_only_the_system_sets_survives_an_update(driver, make_pod):
    made = await driver.create("pods", make_pod("a"))
    wanted = {**made, "metadata": {"name": "a", "labels": {"x": "y"}}, "status": {"phase": "Failed"}}
    changed = await driver.update("pods", wanted)
    assert changed["status"] == made["status"]
    assert changed["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert changed["metadata"]["labels"] == {"x": "y"}


async def test_the_status_is_changed_through_its_subresource_only(driver, make_pod):
    made = await driver.create("pods", make_pod("a"))
    made["status"]["phase"] = "Running"
    made["spec"]["nodeName"] = "elsewhere"
    changed = await driver.update("pods", made, subresource="status")
    assert changed["status"]["phase"] == "Running"
    assert "nodeName" not in changed["spec"]


async def test_an_immutable_field_is_refused_with_its_path(driver, make_pod):
    made = await driver.create("pods", make_pod("a"))
    made["spec"]["containers"][0]["name"] = "other"
    with pytest.raises(InvalidError, match="spec: Forbidden: pod updates may not change fields other than"):
        await driver.update("pods", made)


async def test_a_merge_patch_changes_what_it_names(driver):
    await driver.create("configmaps", {"metadata": {"name": "c", "labels": {"a": "1"}}, "data": {"x": "1"}})
    changed = await driver.patch("configmaps", "c", {"metadata": {"labels": {"a": None, "b": "2"}}})
    assert changed["metadata"]["labels"] == {"b": "2"}
    assert changed["data"] == {"x": "1"}


async def test_a_strategic_patch_merges_lists_by_key(driver):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await driver.create("deployments", {"metadata": {"name": "d"}, "spec": spec})
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}}
    changed = await driver.patch("deployments", "d", patch, kind="strategic")
    (container,) = changed["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["name"]) == ("two", "c")
    assert changed["metadata"]["generation"] == 2


async def test_a_json_patch_is_a_list_of_operations(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}, "data": {"x": "1"}})
    changed = await driver.patch("configmaps", "c", [{"op": "replace", "path": "/data/x", "value": "2"}], kind="json")
    assert changed["data"] == {"x": "2"}
    with pytest.raises(BadRequestError):
        await driver.patch("configmaps", "c", {"data": {}}, kind="json")


async def test_patches_at_the_same_time_all_take_effect(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    await asyncio.gather(*(driver.patch("configmaps", "c", {"data": {str(n): "x"}}) for n in range(6)))
    assert set((await driver.get("configmaps", "c"))["data"]) == set("012345")


async def test_a_patch_that_names_a_version_applies_to_that_one_only(driver):
    made = await driver.create("configmaps", {"metadata": {"name": "c"}})
    version = made["metadata"]["resourceVersion"]
    await driver.patch("configmaps", "c", {"metadata": {"resourceVersion": version}, "data": {"a": "1"}})
    with pytest.raises(ConflictError):
        await driver.patch("configmaps", "c", {"metadata": {"resourceVersion": version}, "data": {"a": "2"}})


async def test_a_patch_that_makes_the_object_invalid_changes_nothing(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    with pytest.raises(InvalidError, match="cannot unmarshal number into Go struct field"):
        await driver.patch("configmaps", "c", {"data": 5})
    with pytest.raises(InvalidError):
        await driver.patch("configmaps", "c", {"metadata": {"labels": {"not a key": "x"}}})
    assert "data" not in await driver.get("configmaps", "c")


async def test_a_patch_that_is_not_json_is_refused(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    where = (APISERVER, driver.resource("configmaps"), "default", "c")
    with pytest.raises(BadRequestError, match="error decoding patch"):
        await driver.core.pipeline.patch(*where, b"{", "merge", WriteOptions())


async def test_a_subresource_that_is_not_served_is_not_allowed(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    with pytest.raises(MethodNotAllowedError):
        await driver.patch("configmaps", "c", {}, subresource="status")


async def test_a_write_of_a_deposed_leader_changes_nothing(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    lost = Compare(b"/orch/leaders/none", 7)
    with pytest.raises(ConflictError, match="leadership"):
        await driver.patch("configmaps", "c", {"data": {"a": "1"}}, fence=lost)
    with pytest.raises(ConflictError, match="leadership"):
        await driver.create("configmaps", {"metadata": {"name": "d"}}, fence=lost)
    assert "data" not in await driver.get("configmaps", "c")
    assert not await driver.exists("configmaps", "d")


async def test_a_dry_run_shows_the_change_and_stores_nothing(driver):
    await driver.create("configmaps", {"metadata": {"name": "c"}})
    shown = await driver.patch("configmaps", "c", {"data": {"a": "1"}}, dry_run=True)
    assert shown["data"] == {"a": "1"}
    assert "data" not in await driver.get("configmaps", "c")
