"""Views of Node, Namespace, Event, Lease and other plain kinds (k8s.io/api/core/v1, coordination/v1)."""

from __future__ import annotations

import msgspec

from orch.objects.meta import Condition, Object, View


class Taint(View, frozen=True):
    """Keeps pods off a node unless they tolerate it."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str = ""


class NodeSpec(View, frozen=True):
    """What is asked of a node."""

    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeAddress(View, frozen=True):
    """An address and its type: InternalIP, Hostname."""

    type: str = ""
    address: str = ""


class ContainerImage(View, frozen=True):
    """An image that a node has, under all of its names."""

    names: tuple[str, ...] = ()
    size_bytes: int = 0


class NodeStatus(View, frozen=True):
    """What a node says of itself. Quantities as text."""

    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    conditions: tuple[Condition, ...] = ()
    addresses: tuple[NodeAddress, ...] = ()
    images: tuple[ContainerImage, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type."""
        for condition in self.conditions:
            if condition.type == kind:
                return condition
        return None


class Node(Object, frozen=True):
    """A node. `spec.pod_cidr` reads podCIDR."""

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class RuntimeClass(Object, frozen=True):
    """A way to run containers: nodes know it by its handler."""

    handler: str = ""


class NamespaceSpec(View, frozen=True):
    """Finalizers of the namespace's contents."""

    finalizers: tuple[str, ...] = ()


class NamespaceStatus(View, frozen=True):
    """Active or Terminating."""

    phase: str = ""
    conditions: tuple[Condition, ...] = ()


class Namespace(Object, frozen=True):
    """A namespace."""

    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class ConfigMap(Object, frozen=True):
    """A config map; `binary_data` is base64."""

    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool = False


class Secret(Object, frozen=True):
    """A secret; `data` is base64."""

    type: str = "Opaque"
    data: dict[str, str] = {}
    immutable: bool = False


class ServiceAccount(Object, frozen=True):
    """A service account."""
