"""The one visible list of admission plugins, in the order in which requests pass them: Kubernetes' order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from orch_api.admission.anti_affinity import LimitPodHardAntiAffinityTopology
from orch_api.admission.certificates import CertificateApproval, CertificateSigning, CertificateSubjectRestriction
from orch_api.admission.chain import Chain, Plugin
from orch_api.admission.claim_resizes import PersistentVolumeClaimResize
from orch_api.admission.configuration import NOTHING_GIVEN, Given, chosen, read_configuration
from orch_api.admission.default_classes import DefaultIngressClass, DefaultStorageClass
from orch_api.admission.default_tolerations import DefaultTolerationSeconds
from orch_api.admission.event_rates import EventRateLimit
from orch_api.admission.extended_tolerations import ExtendedResourceToleration
from orch_api.admission.external_ips import DenyServiceExternalIPs
from orch_api.admission.ground import Ground
from orch_api.admission.images import ImagePolicies
from orch_api.admission.images.configured import read as read_image_policy
from orch_api.admission.limit_ranger import LimitRanger
from orch_api.admission.namespaces import NamespaceLifecycle
from orch_api.admission.node_restriction import NodeRestriction
from orch_api.admission.node_taints import TaintNodesByCondition
from orch_api.admission.owner_references import OwnerReferencesPermissionEnforcement
from orch_api.admission.pod_security import PodSecurity
from orch_api.admission.policies import MutatingPolicies, ValidatingPolicies
from orch_api.admission.priorities import Priorities
from orch_api.admission.pull_images import AlwaysPullImages
from orch_api.admission.resource_quota import ResourceQuota
from orch_api.admission.runtime_classes import RuntimeClass
from orch_api.admission.service_accounts import ServiceAccount
from orch_api.admission.storage_protection import StorageObjectInUseProtection
from orch_api.admission.topology_labels import PodTopologyLabels
from orch_api.admission.trust_bundles import ClusterTrustBundleAttest
from orch_api.admission.webhooks import MutatingWebhooks, ValidatingWebhooks
from orch_api.config import ApiConfig


class Entry(msgspec.Struct, frozen=True):
    """A plugin, whether it is on unless a setting says otherwise, and whether it takes a configuration."""

    kind: type[Plugin]
    make: Callable[[Ground, Given], Plugin]
    on: bool = True
    configurable: bool = False

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.kind.name


PLUGINS: Final = (
    Entry(NamespaceLifecycle, lambda ground, _: NamespaceLifecycle(ground.cache)),
    Entry(LimitPodHardAntiAffinityTopology, lambda _, __: LimitPodHardAntiAffinityTopology(), on=False),
    Entry(LimitRanger, lambda ground, _: LimitRanger(ground.cache)),
    Entry(ServiceAccount, lambda ground, _: ServiceAccount(ground.cache, ground.clock)),
    Entry(NodeRestriction, lambda ground, _: NodeRestriction(ground.cache, ground.authorizer)),
    Entry(TaintNodesByCondition, lambda _, __: TaintNodesByCondition()),
    Entry(AlwaysPullImages, lambda _, __: AlwaysPullImages(), on=False),
    Entry(PodSecurity, lambda ground, given: PodSecurity(ground.cache, ground.clock, given), configurable=True),
    Entry(Priorities, lambda ground, _: Priorities(ground.cache)),
    Entry(DefaultTolerationSeconds, lambda ground, _: DefaultTolerationSeconds(*ground.toleration_seconds)),
    Entry(EventRateLimit, lambda ground, given: EventRateLimit(given, ground.clock), on=False, configurable=True),
    Entry(ExtendedResourceToleration, lambda _, __: ExtendedResourceToleration(), on=False),
    Entry(DefaultStorageClass, lambda ground, _: DefaultStorageClass(ground.cache)),
    Entry(StorageObjectInUseProtection, lambda _, __: StorageObjectInUseProtection()),
    Entry(
        OwnerReferencesPermissionEnforcement,
        lambda ground, _: OwnerReferencesPermissionEnforcement(ground.authorizer, ground.registry),
        on=False,
    ),
    Entry(PersistentVolumeClaimResize, lambda ground, _: PersistentVolumeClaimResize(ground.cache)),
    Entry(RuntimeClass, lambda ground, _: RuntimeClass(ground.cache)),
    Entry(CertificateApproval, lambda ground, _: CertificateApproval(ground.authorizer)),
    Entry(CertificateSigning, lambda ground, _: CertificateSigning(ground.authorizer)),
    Entry(ClusterTrustBundleAttest, lambda ground, _: ClusterTrustBundleAttest(ground.authorizer)),
    Entry(CertificateSubjectRestriction, lambda _, __: CertificateSubjectRestriction()),
    Entry(DefaultIngressClass, lambda ground, _: DefaultIngressClass(ground.cache)),
    Entry(DenyServiceExternalIPs, lambda _, __: DenyServiceExternalIPs(), on=False),
    Entry(PodTopologyLabels, lambda ground, _: PodTopologyLabels(ground.cache)),
    Entry(
        ImagePolicies,
        lambda ground, given: ImagePolicies(read_image_policy(given), ground.guard, ground.clock),
        configurable=True,
    ),
    Entry(
        MutatingPolicies,
        lambda ground, _: MutatingPolicies(
            ground.cache, ground.registry, ground.schemas, ground.authorizer, ground.scale
        ),
    ),
    Entry(
        MutatingWebhooks,
        lambda ground, _: MutatingWebhooks(
            ground.cache, ground.registry, ground.schemas, ground.authorizer, ground.scale, ground.calls
        ),
    ),
    Entry(
        ValidatingPolicies,
        lambda ground, _: ValidatingPolicies(ground.cache, ground.registry, ground.authorizer, ground.scale),
    ),
    Entry(
        ValidatingWebhooks,
        lambda ground, _: ValidatingWebhooks(
            ground.cache, ground.registry, ground.authorizer, ground.scale, ground.calls
        ),
    ),
    Entry(
        ResourceQuota,
        lambda ground, given: ResourceQuota(ground.cache, ground.committer, ground.registry, ground.clock, given),
        configurable=True,
    ),
)


def build(ground: Ground, config: ApiConfig) -> Chain:
    """Return the chain that the settings ask for. Raises ConfigError."""
    seconds = (config.default_not_ready_toleration_seconds, config.default_unreachable_toleration_seconds)
    ground = msgspec.structs.replace(ground, toleration_seconds=seconds)
    known = tuple(entry.name for entry in PLUGINS)
    default = tuple(entry.name for entry in PLUGINS if entry.on)
    names = chosen(default, known, config.enable_admission_plugins, config.disable_admission_plugins)
    configurable = tuple(entry.name for entry in PLUGINS if entry.configurable)
    file = config.admission_control_config_file
    given: Mapping[str, Given] = read_configuration(Path(file), configurable, known) if file else {}
    return Chain([one.make(ground, given.get(one.name, NOTHING_GIVEN)) for one in PLUGINS if one.name in names])
