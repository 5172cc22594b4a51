"""Views of claims, volumes, storage classes and the drivers on nodes (k8s.io/api/core/v1, storage/v1)."""

from __future__ import annotations

from orch.objects.meta import LabelSelector, Object, View
from orch.objects.pods import NodeSelector


class ObjectReference(View, frozen=True):
    """The claim that a volume is for."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


class ClaimResources(View, frozen=True):
    """How much a claim asks for, by resource."""

    requests: dict[str, str] = {}


class PersistentVolumeClaimSpec(View, frozen=True):
    """What a claim asks for. Without `storage_class_name` the cluster's default is meant, with an empty one none."""

    access_modes: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    resources: ClaimResources = ClaimResources()
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str = "Filesystem"
    volume_attributes_class_name: str | None = None


class ModifyVolumeStatus(View, frozen=True):
    """What a claim's volume is being changed to."""

    target_volume_attributes_class_name: str = ""


class PersistentVolumeClaimStatus(View, frozen=True):
    """What a claim has got: Pending, Bound or Lost; and by which class of attributes its volume was made."""

    phase: str = ""
    current_volume_attributes_class_name: str | None = None
    modify_volume_status: ModifyVolumeStatus | None = None


class PersistentVolumeClaim(Object, frozen=True):
    """A claim."""

    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class CSIVolume(View, frozen=True):
    """A volume of a driver."""

    driver: str = ""
    volume_handle: str = ""


class VolumeNodeAffinity(View, frozen=True):
    """Which nodes reach a volume."""

    required: NodeSelector | None = None


class PersistentVolumeSpec(View, frozen=True):
    """What a volume is."""

    capacity: dict[str, str] = {}
    access_modes: tuple[str, ...] = ()
    claim_ref: ObjectReference | None = None
    storage_class_name: str = ""
    volume_mode: str = "Filesystem"
    volume_attributes_class_name: str | None = None
    node_affinity: VolumeNodeAffinity | None = None
    csi: CSIVolume | None = None


class PersistentVolumeStatus(View, frozen=True):
    """What became of a volume: Available, Bound, Released or Failed."""

    phase: str = ""


class PersistentVolume(Object, frozen=True):
    """A volume."""

    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class TopologyRequirement(View, frozen=True):
    """A label of nodes and the values of it that are allowed."""

    key: str = ""
    values: tuple[str, ...] = ()


class TopologyTerm(View, frozen=True):
    """All of a term must hold."""

    match_label_expressions: tuple[TopologyRequirement, ...] = ()


class StorageClass(Object, frozen=True):
    """A class of storage."""

    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
    allowed_topologies: tuple[TopologyTerm, ...] = ()


class DriverAllocatable(View, frozen=True):
    """How many volumes of a driver a node takes; None: no limit."""

    count: int | None = None


class NodeDriver(View, frozen=True):
    """A driver on a node."""

    name: str = ""
    allocatable: DriverAllocatable | None = None


class CSINodeSpec(View, frozen=True):
    """The drivers on a node."""

    drivers: tuple[NodeDriver, ...] = ()


class CSINode(Object, frozen=True):
    """What a node can attach; it has the node's name."""

    spec: CSINodeSpec = CSINodeSpec()


class CSIDriverSpec(View, frozen=True):
    """`storage_capacity`: whether the driver tells how much room there is where."""

    storage_capacity: bool = False


class CSIDriver(Object, frozen=True):
    """A driver."""

    spec: CSIDriverSpec = CSIDriverSpec()


class CSIStorageCapacity(Object, frozen=True):
    """How much room a class of storage has on some nodes."""

    node_topology: LabelSelector | None = None
    storage_class_name: str = ""
    capacity: str = ""
    maximum_volume_size: str = ""
