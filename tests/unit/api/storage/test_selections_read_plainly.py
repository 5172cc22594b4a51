"""Field and label selectors over pods select what a plain reading of the documents selects; other texts are refused."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orch.clock import ManualClock
from orch.errors import BadRequestError
from orch.store import keys
from orch.store.keys import ObjectKey
from orch.store.memory import MemoryStore
from orch.store.protocol import Write
from orch_api.registry import REGISTRY
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import encode
from orch_api.storage.read import ListOptions, Reader
from orch_api.storage.selection import selection

PODS: Any = REGISTRY.stored("", "pods")
PATHS = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.schedulerName": ("spec", "schedulerName"),
    "status.phase": ("status", "phase"),
    "status.nominatedNodeName": ("status", "nominatedNodeName"),
}
NAMES = st.sampled_from(("a", "b", "c"))
ODD = st.sampled_from(("", "a", "b", "x,y", "x=y", "x\\y"))
POD = st.fixed_dictionaries(
    {"namespace": NAMES, "name": NAMES},
    optional={"node": NAMES, "scheduler": ODD, "phase": ODD, "nominated": ODD, "app": NAMES},
)
TERMS = st.lists(st.tuples(st.sampled_from(sorted(PATHS)), st.sampled_from(("=", "==", "!=")), ODD), max_size=3)
LABELS = st.sampled_from(("", "app", "!app", "app=a", "app!=a", "app in (a,b)", "app notin (a)"))


def document(pod: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": pod["name"], "namespace": pod["namespace"], "uid": "u"}
    spec = {"nodeName": pod.get("node"), "schedulerName": pod.get("scheduler")}
    status = {"phase": pod.get("phase"), "nominatedNodeName": pod.get("nominated")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "labels": {"app": pod["app"]} if "app" in pod else {}},
        "spec": {name: value for name, value in spec.items() if value is not None},
        "status": {name: value for name, value in status.items() if value is not None},
    }


def selected(pod: dict[str, Any], terms: list[tuple[str, str, str]], labels: str) -> bool:
    app = pod["metadata"]["labels"].get("app")
    wanted = {
        "": True,
        "app": app is not None,
        "!app": app is None,
        "app=a": app == "a",
        "app!=a": app != "a",
        "app in (a,b)": app in {"a", "b"},
        "app notin (a)": app != "a",
    }[labels]
    for path, operator, value in terms:
        part, name = PATHS[path]
        wanted = wanted and (pod[part].get(name, "") == value) == (operator != "!=")
    return wanted


def written(terms: list[tuple[str, str, str]]) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace(",", r"\,").replace("=", r"\=")

    return ",".join(f"{path}{operator}{escaped(value)}" for path, operator, value in terms)


@settings(deadline=None)
@given(st.lists(POD, max_size=6), TERMS, LABELS, st.sampled_from(("", "a")), st.integers(0, 2))
def test_a_list_holds_what_is_selected(
    pods: list[dict[str, str]], terms: list[tuple[str, str, str]], labels: str, namespace: str, limit: int
) -> None:
    there = {(pod["namespace"], pod["name"]): document(pod) for pod in pods}
    expected = [
        where for where in sorted(there) if namespace in {"", where[0]} and selected(there[where], terms, labels)
    ]

    async def run() -> None:
        store = MemoryStore()
        cache = ObjectCache(store, ManualClock())
        for where, pod in there.items():
            await store.write(Write(keys.object_key(ObjectKey("", "pods", *where)), encode(pod).value, None))
        running = asyncio.create_task(cache.run())
        await cache.wait_ready(5)
        reader, found, token = Reader(store, cache), [], ""
        while True:
            options = ListOptions(
                field_selector=written(terms), label_selector=labels, limit=limit, continue_token=token
            )
            page = await reader.list_page(PODS, namespace, options)
            found += [(item.key.namespace, item.key.name) for item in page.items]
            token = page.continue_token
            if not token:
                break
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()
        assert found == expected

    asyncio.run(run())


@given(st.text(alphabet="amn.=!\\, -", max_size=16), st.text(alphabet="ab=!()<>, in.-/", max_size=16))
def test_any_text_selects_or_is_refused(fields: str, labels: str) -> None:
    for field_selector, label_selector in ((fields, ""), ("", labels), (f"metadata.name{fields}", "")):
        with contextlib.suppress(BadRequestError):
            assert selection(PODS, label_selector, field_selector)
