POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
PATH = "/api/v1/namespaces/default/pods/p"
STRATEGIC = "application/strategic-merge-patch+json"


async def test_debug_and_resize_read_and_change_the_pod(http):
    await http("POST", "/api/v1/namespaces/default/pods", POD)
    change = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    for subresource in ("ephemeralcontainers", "resize"):
        assert (await http("GET", f"{PATH}/{subresource}")).json == (await http("GET", PATH)).json
    patched = await http("PATCH", f"{PATH}/ephemeralcontainers", change, content_type=STRATEGIC)
    assert patched.status == 200, patched.json
    assert patched.json["spec"]["ephemeralContainers"][0]["name"] == "debug"
    missing = await http("GET", "/api/v1/namespaces/default/pods/other/resize")
    assert missing.status == 404
    assert missing.json["message"] == 'pods "other" not found'


async def test_events_of_both_groups_are_the_same_objects(http):
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "message": "hello",
    }
    assert (await http("POST", "/api/v1/namespaces/default/events", event)).status == 201
    newer = (await http("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")).json
    assert (newer["apiVersion"], newer["note"], newer["regarding"]["name"]) == ("events.k8s.io/v1", "hello", "p")
    found = await http("GET", "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name%3Dp")
    assert [one["note"] for one in found.json["items"]] == ["hello"]
    refused = await http("GET", "/apis/events.k8s.io/v1/events?fieldSelector=involvedObject.name%3Dp")
    assert refused.status == 400
