"""All kinds of volumes that this node knows, in the order in which they are asked whether a volume is theirs."""

from __future__ import annotations

from typing import Protocol

from orch.clock import Clock
from orch_agent.objects import ObjectReader
from orch_agent.volumes.claims import ClaimVolumes
from orch_agent.volumes.config_map import ConfigMapVolumes
from orch_agent.volumes.downward_api import DownwardVolumes
from orch_agent.volumes.empty_dir import EmptyDirVolumes
from orch_agent.volumes.host_path import HostPathVolumes
from orch_agent.volumes.image import ImageFinder, ImageStore, ImageVolumes
from orch_agent.volumes.mounts import Mounts
from orch_agent.volumes.objects import ReferredObjects
from orch_agent.volumes.pod_certificates import PodCertificates
from orch_agent.volumes.projected import ProjectedVolumes
from orch_agent.volumes.protocol import NodeFacts, Outlet, VolumePlugin
from orch_agent.volumes.secret import SecretVolumes
from orch_agent.volumes.tokens import TokenIssuer, Tokens
from orch_agent.volumes.trust_bundles import BundleReader, TrustBundles


class ApiClient(ObjectReader, TokenIssuer, BundleReader, Protocol):
    """What volumes ask of the api."""


def all_kinds(
    client: ApiClient,
    objects: ReferredObjects,
    images: ImageStore,
    runtime: ImageFinder,
    mounts: Mounts,
    outlet: Outlet,
    facts: NodeFacts,
    clock: Clock,
) -> tuple[VolumePlugin, ...]:
    """Return a node's plugins."""
    return (
        EmptyDirVolumes(mounts, facts),
        HostPathVolumes(),
        ConfigMapVolumes(objects, clock),
        SecretVolumes(objects, clock),
        DownwardVolumes(facts, clock),
        ProjectedVolumes(
            objects,
            Tokens(client, clock),
            TrustBundles(client, clock),
            PodCertificates(client, facts.node, clock),
            facts,
            clock,
        ),
        ImageVolumes(images, runtime, mounts, outlet),
        ClaimVolumes(client),
    )
