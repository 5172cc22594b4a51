"""What dashboards made for Kubernetes ask the api for."""

NS = "/api/v1/namespaces/default"
MERGE = "application/merge-patch+json"


def config_map(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def labels(verb, resource, scope, *, group="", version="v1", subresource="", **more):
    named = {"verb": verb, "group": group, "version": version, "resource": resource, "subresource": subresource}
    return frozenset({**named, "scope": scope, "component": "apiserver", **more}.items())


async def test_requests_are_counted_by_verb_scope_and_outcome(http, figures):
    before = await figures("apiserver_request_total")
    await http("POST", f"{NS}/configmaps", config_map("a"))
    await http("POST", f"{NS}/configmaps?dryRun=All", config_map("b"))
    await http("POST", f"{NS}/configmaps?dryRun=Most", config_map("b"))
    await http("GET", f"{NS}/configmaps/a")
    await http("HEAD", f"{NS}/configmaps/a")
    await http("GET", f"{NS}/configmaps/none")
    await http("GET", f"{NS}/configmaps")
    await http("GET", "/api/v1/configmaps")
    await http("GET", "/apis/apps/v1/namespaces/default/deployments/none/status")
    await http("PATCH", f"{NS}/configmaps/a", {"data": {"a": "b"}}, content_type=MERGE)
    await http("DELETE", f"{NS}/configmaps/a")
    await http("DELETE", f"{NS}/configmaps")
    after = await figures("apiserver_request_total")

    def grown(*args, **more):
        key = labels(*args, **{"dry_run": "", **more})
        return after.get(key, 0) - before.get(key, 0)

    assert grown("POST", "configmaps", "resource", code="201") == 1
    assert grown("POST", "configmaps", "resource", code="201", dry_run="All") == 1
    assert grown("POST", "configmaps", "resource", code="422") == 1
    assert grown("GET", "configmaps", "resource", code="200") == 2
    assert grown("GET", "configmaps", "resource", code="404") == 1
    assert grown("LIST", "configmaps", "namespace", code="200") == 1
    assert grown("LIST", "configmaps", "cluster", code="200") == 1
    assert grown("GET", "deployments", "resource", group="apps", subresource="status", code="404") == 1
    assert grown("PATCH", "configmaps", "resource", code="200") == 1
    assert grown("DELETE", "configmaps", "resource", code="200") == 1
    assert grown("DELETECOLLECTION", "configmaps", "namespace", code="200") == 1


async def test_times_and_sizes_are_distributed(http, figures):
    await http("GET", f"{NS}/configmaps")
    await http("POST", f"{NS}/configmaps?dryRun=All", config_map("a"))
    listed = labels("LIST", "configmaps", "namespace")
    assert (await figures("apiserver_request_sli_duration_seconds_count"))[listed] >= 1
    assert (await figures("apiserver_request_duration_seconds_count"))[listed | {("dry_run", "")}] >= 1
    assert (await figures("apiserver_response_sizes_sum"))[listed] > 0
    buckets = await figures("apiserver_response_sizes_bucket")
    inside = [buckets[listed | {("le", bound)}] for bound in ("1000.0", "1e+06", "1e+09", "+Inf")]
    assert inside == sorted(inside)
    assert inside[-1] == (await figures("apiserver_response_sizes_count"))[listed]
    posted = labels("POST", "configmaps", "resource")
    assert posted not in await figures("apiserver_response_sizes_count")
    assert posted | {("dry_run", "All")} in await figures("apiserver_request_duration_seconds_count")


async def test_watches_are_open_while_they_last(http, figures, eventually):
    watched = labels("WATCH", "configmaps", "namespace")
    of_resource = frozenset({("group", ""), ("version", "v1"), ("resource", "configmaps")})
    before = (await figures("apiserver_watch_events_total")).get(of_resource, 0)
    answer, task, leave = http.begin("GET", f"{NS}/configmaps?watch=1")
    await eventually(lambda: answer.status == 200)
    assert (await figures("apiserver_longrunning_requests"))[watched] == 1
    await http("POST", f"{NS}/configmaps", config_map("a"))
    await eventually(lambda: answer.events)
    assert (await figures("apiserver_watch_events_total"))[of_resource] == before + 1
    assert (await figures("apiserver_watch_events_sizes_count"))[of_resource] == before + 1
    leave.set()
    await task
    assert (await figures("apiserver_longrunning_requests"))[watched] == 0
    assert (await figures("apiserver_request_total"))[watched | {("dry_run", ""), ("code", "200")}] >= 1


async def test_requests_in_flight_are_told_by_kind(figures):
    assert await figures("apiserver_current_inflight_requests") == {
        frozenset({("request_kind", "mutating")}): 0,
        frozenset({("request_kind", "readOnly")}): 1,  # the one that asks
    }
    assert (await figures("process_resident_memory_bytes"))[frozenset()] > 0


async def test_what_is_no_resource_is_counted_too(http, figures):
    await http("GET", "/readyz?verbose")
    asked = labels("GET", "", "", version="", subresource="/readyz", dry_run="", code="200")
    assert (await figures("apiserver_request_total"))[asked] >= 1
