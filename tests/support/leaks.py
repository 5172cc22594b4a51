"""What pods have left on the Podman nodes of a local cluster: whatever is there and belongs to no pod that exists.

Looking takes a tenth of a second and waits for nothing, as long as there is no leak: what a pod still uses while it
ends belongs to a pod that exists. So it can be done after each module of tests, whatever runs beside it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from local_cluster import LocalCluster

from orch_agent.pods.static import CONFIG_MIRROR
from orch_agent.runtimes.protocol import LABEL_UID

_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_GROUPS = Path("/sys/fs/cgroup")
_NAMESPACES = Path("/run/netns")


class Found(NamedTuple):
    """Something on a node: what it is, and whose: a pod's uid, a container's id, or another name of one of the two."""

    what: str
    owner: str


def leaks(cluster: LocalCluster) -> list[str]:
    """Return what is on the nodes and no pod's. A pod that goes at this moment may be seen half gone: look again."""
    nodes = [_Node(cluster, path.name) for path in sorted(cluster.layout.nodes.glob("*"))]
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [(node, each) for node in nodes for each in node.everything(mounts)]
    prefix = f"orch-{cluster.name}-pod-"
    networks = [path.name.removeprefix(prefix) for path in _NAMESPACES.glob(f"{prefix}*")]
    # Pods are asked for last: who made something before is among them, unless it is gone by now.
    uids = _existing(cluster)
    known = {node.name: node.names_of(uids) for node in nodes}
    left = [f"{node.name}: {each.what}" for node, each in found if each.owner not in known[node.name]]
    return sorted((*left, *(f"network namespace of pod {uid}" for uid in networks if uid not in uids)))


def assert_nothing_is_left(cluster: LocalCluster, timeout: float = 30) -> None:
    """Fail unless there is nothing of pods that are gone. Nodes that come back have until then to clear up."""
    cluster.wait(lambda: _none(leaks(cluster)), timeout, what="nothing of pods that are gone is left on the nodes")


def _none(found: list[str]) -> bool:
    assert found == [], "\n".join(("left on nodes:", *found))
    return True


def _existing(cluster: LocalCluster) -> set[str]:
    """Return the uids of the pods that exist; of a mirror also that of the pod which it shows."""
    answer = cluster.rest()("GET", "/api/v1/pods")
    assert answer.status == 200, answer.body
    metas = [each["metadata"] for each in answer.body["items"]]
    shown = {meta.get("annotations", {}).get(CONFIG_MIRROR, "") for meta in metas}
    return {meta["uid"] for meta in metas} | shown - {""}


class _Node:
    """One node's places. Its containers are looked up once, when it is made."""

    def __init__(self, cluster: LocalCluster, name: str) -> None:
        self.name = name
        self._cluster = cluster
        self._state = cluster.layout.nodes / name
        self._volatile = Path(f"/run/orch-{cluster.name}") / name
        self._storage = self._state / "podman/containers"
        self._containers = self._listed()
        self._layers = {each["id"]: each["layer"] for each in _json(self._storage / "overlay-containers", "containers")}

    def names_of(self, uids: Iterable[str]) -> set[str]:
        """Return by which names things on this node may be the pods' of these uids."""
        uids = set(uids)
        containers = {known for known, uid in self._containers.items() if uid in uids}
        layers = {self._layers[known] for known in containers & self._layers.keys()}
        return {*uids, *map(_interface, uids), *containers, *layers}

    def everything(self, mounts: Iterable[str]) -> Iterator[Found]:
        """Yield what of pods is here, in whatever state they are."""
        for known, uid in self._containers.items():
            yield Found(f"container {known} of pod {uid or '(none)'}", uid)
        yield from self._of_network()
        yield from self._of_groups()
        yield from self._of_folders()
        yield from self._of_storage()
        for path in mounts:
            if path.startswith((f"{self._state}/", f"{self._volatile}/")) and (owner := _owner_of(path)):
                yield Found(f"mount {path}", owner)
        for monitor in self._monitors():
            yield Found(f"monitor of container {monitor}", monitor)

    def _of_network(self) -> Iterator[Found]:
        taken = self._state / "addresses.json"
        for uid, address in (json.loads(taken.read_bytes()) if taken.exists() else {}).items():
            yield Found(f"address {address} of pod {uid}", uid)
        listed = ("ip", "-n", self._cluster.node_namespace(self.name), "-json", "link", "show", "type", "veth")
        shown = subprocess.run(listed, check=True, capture_output=True, timeout=20).stdout
        for link in json.loads(shown or "[]"):
            if link["ifname"].startswith("veth"):
                yield Found(f"interface {link['ifname']}", link["ifname"])

    def _of_groups(self) -> Iterator[Found]:
        own = f"orch-{self._cluster.name}/{self.name}"
        for root in (_GROUPS / own, *_GROUPS.glob(f"*/{own}")):
            for place, names, _ in os.walk(root):  # which does not mind that groups go meanwhile
                for name in names:
                    if owner := _owner_of(name.removeprefix("pod")):
                        yield Found(f"control group {place}/{name}", owner)

    def _of_folders(self) -> Iterator[Found]:
        folders = ("pods", "volumes/disk", "volumes/memory")
        for folder in (*(self._state / each for each in folders), self._volatile / "namespaces"):
            for path in folder.glob("*"):
                yield Found(f"folder {path}", path.name)

    def _of_storage(self) -> Iterator[Found]:
        for each in _json(self._storage / "overlay-layers", "layers"):
            if not each.get("diff-digest"):
                yield Found(f"layer {each['id']} that a container writes to", each["id"])
        places = ("run/overlay-containers", "tmp/exits", "tmp/persist")
        for folder in (self._storage / "overlay-containers", *(self._volatile / each for each in places)):
            for path in folder.glob("*"):
                if owner := _owner_of(path.name):
                    yield Found(f"file {path}", owner)

    def _monitors(self) -> Iterator[str]:
        """Yield whose monitors run. Those of commands inside of containers stay as long as Podman remembers them."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            mine = "conmon" in words[0] and any(word.startswith(f"{self._volatile}/") for word in words)
            if mine and "-c" in words and "--exec-process-spec" not in words:
                yield words[words.index("-c") + 1]

    def _listed(self) -> Mapping[str, str]:
        """Return the uids of the pods of all containers that the node's Podman has, "" for those of none."""
        connection = _UnixConnection(self._volatile / "podman.sock")
        try:
            connection.request("GET", f"/v4.0.0/libpod/containers/json?{urlencode({'all': 'true'})}")
            answer = connection.getresponse()
            listed = json.loads(answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"{self.name}: Podman does not answer: {error}") from error
        finally:
            connection.close()
        assert answer.status == 200, listed
        return {each["Id"]: (each["Labels"] or {}).get(LABEL_UID, "") for each in listed}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _owner_of(text: str) -> str:
    """Return the pod or else the container, or its layer, that a path names; "" for none."""
    found = _UID.search(text) or _CONTAINER.search(text)
    return found[0] if found is not None else ""


def _interface(uid: str) -> str:
    """Return how the node's end of a pod's pair of interfaces is called."""
    return f"veth{hashlib.sha256(uid.encode()).hexdigest()[:11]}"


def _json(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return what a list of Podman's storage holds; it is written anew, never in place."""
    try:
        return json.loads((folder / f"{name}.json").read_bytes())
    except FileNotFoundError:
        return []
