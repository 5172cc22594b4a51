"""Generated names, and what a name may be (sig-api-machinery: Generated names, resource names)."""

from __future__ import annotations

from expecting_client import Client

PODS = "/api/v1/namespaces/default/pods"
SPEC = {"containers": [{"name": "main", "image": "nginx"}]}


async def test_names_are_prefix_and_five_more(api: Client) -> None:
    made = [await api.create(PODS, {"metadata": {"generateName": "test-"}, "spec": SPEC}) for _ in range(3)]
    names = {one["metadata"]["name"] for one in made}
    assert len(names) == 3
    assert all(name.startswith("test-") and len(name) == 10 for name in names)
    assert all(one["metadata"]["generateName"] == "test-" for one in made)


async def test_a_long_prefix_is_cut(api: Client) -> None:
    made = await api.create(PODS, {"metadata": {"generateName": "a" * 80}, "spec": SPEC})
    assert len(made["metadata"]["name"]) == 63


async def test_a_name_wins_over_a_prefix(api: Client) -> None:
    made = await api.create(PODS, {"metadata": {"name": "given", "generateName": "test-"}, "spec": SPEC})
    assert made["metadata"]["name"] == "given"
    again = await api.create(PODS, {"metadata": {"name": "given"}, "spec": SPEC}, expect=409)
    assert again["message"] == 'pods "given" already exists'


async def test_names_that_cannot_be(api: Client) -> None:
    for name in ("Upper", "under_score", "a" * 254, "-a"):
        refused = await api.create(PODS, {"metadata": {"name": name}, "spec": SPEC}, expect=422)
        assert refused["details"]["causes"][0]["field"] == "metadata.name"
    missing = await api.create(PODS, {"metadata": {}, "spec": SPEC}, expect=422)
    assert "name or generateName is required" in missing["message"]
