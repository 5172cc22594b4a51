"""Which plugins run, in which order, by the settings; what the settings must not say; how long they take."""

from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from orch.errors import ConfigError
from orch_api.admission.plugins import PLUGINS
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api

KUBERNETES = (
    "NamespaceLifecycle",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    "PodSecurity",
    "Priority",
    "DefaultTolerationSeconds",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
)


async def names(**settings: Any) -> tuple[str, ...]:
    async with in_memory_api(config=ApiConfig(**settings)) as api:
        return api.core.admission.names


async def test_plugins_run_in_kubernetes_order():
    listed = [entry.name for entry in PLUGINS]
    assert [name for name in listed if name in KUBERNETES] == list(KUBERNETES)


def test_what_is_off_unless_asked_for():
    off = {entry.name for entry in PLUGINS if not entry.on}
    assert off == {
        "LimitPodHardAntiAffinityTopology",
        "AlwaysPullImages",
        "EventRateLimit",
        "ExtendedResourceToleration",
        "OwnerReferencesPermissionEnforcement",
        "DenyServiceExternalIPs",
    }


async def test_settings_switch_plugins():
    on = await names(enable_admission_plugins=("AlwaysPullImages",), disable_admission_plugins=("Priority",))
    assert "AlwaysPullImages" in on
    assert "Priority" not in on


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"enable_admission_plugins": ("Nothing",)},
            "enable_admission_plugins: there is no admission plugin 'Nothing'",
        ),
        (
            {"enable_admission_plugins": ("Priority",), "disable_admission_plugins": ("Priority",)},
            "disable_admission_plugins: Priority is in enable_admission_plugins, too",
        ),
        ({"admission_control_config_file": "/nowhere"}, "/nowhere: cannot be read"),
    ],
)
async def test_settings_that_cannot_be(settings, problem):
    with pytest.raises(ConfigError) as refused:
        await names(**settings)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"kind": "Other"}, "kind: invalid enum value 'Other'"),
        ({"plugins": [{"name": "Nothing"}]}, "plugins[0].name: there is no plugin 'Nothing'"),
        ({"plugins": [{"name": "PodSecurity"}, {"name": "PodSecurity"}]}, "plugins[1].name: PodSecurity is configured"),
        ({"plugins": [{"name": "Priority", "configuration": {"a": 1}}]}, "plugins[0].name: Priority takes no config"),
        ({"plugins": [{"name": "PodSecurity", "path": "x", "configuration": {}}]}, "plugins[0].path: may not be given"),
        ({"plugins": [{"name": "PodSecurity", "path": "absent.yaml"}]}, "absent.yaml: cannot be read"),
        ({"more": 1}, "more: unknown key; known: apiVersion, kind, plugins"),
        ({"plugins": [{"name": 5}]}, "plugins[0].name: expected `str`, got `int`"),
    ],
)
async def test_files_that_cannot_be(tmp_path, content, problem):
    file = tmp_path / "admission.yaml"
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    file.write_text(yaml.safe_dump({**kind, **content}))
    with pytest.raises(ConfigError) as refused:
        await names(admission_control_config_file=str(file))
    assert problem in str(refused.value)


async def test_a_configuration_may_be_a_file_beside(tmp_path):
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    plugins = [{"name": "EventRateLimit", "path": "events.yaml"}]
    (tmp_path / "admission.yaml").write_text(yaml.safe_dump({**kind, "plugins": plugins}))
    limits = {"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration"}
    limits["limits"] = [{"type": "Server", "qps": 5, "burst": 5}]
    (tmp_path / "events.yaml").write_text(yaml.safe_dump(limits))
    on = await names(
        admission_control_config_file=str(tmp_path / "admission.yaml"), enable_admission_plugins=("EventRateLimit",)
    )
    assert "EventRateLimit" in on


async def test_times_are_told_by_plugin_and_as_a_whole(driver):
    labels = {"name": "Priority", "type": "admit", "operation": "CREATE", "rejected": "false"}
    family = "apiserver_admission_controller_admission_duration_seconds"
    before = REGISTRY.get_sample_value(f"{family}_count", labels) or 0
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await driver.create("pods", {"metadata": {"name": "p"}, "spec": spec})
    assert REGISTRY.get_sample_value(f"{family}_count", labels) == before + 1
    del labels["name"]
    step = "apiserver_admission_step_admission_duration_seconds_bucket"
    assert (REGISTRY.get_sample_value(step, {**labels, "le": "2.5"}) or 0) >= 1
