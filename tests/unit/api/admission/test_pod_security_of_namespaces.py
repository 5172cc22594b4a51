"""PodSecurity in an api: what is refused, warned of and annotated, for pods, templates and namespaces."""

import json
from typing import Any

import pytest
import yaml

from orch.errors import ConfigError, ForbiddenError, InvalidError
from orch_api.auth.audit_notes import NOTES, AuditNotes
from orch_api.auth.identity import Caller
from orch_api.config import ApiConfig
from orch_api.memory import in_memory_api
from orch_api.pipeline import WriteOptions

ADMIN = Caller("orch:admin", ("system:masters",))
PREFIX = "pod-security.kubernetes.io/"
PLAIN = {"containers": [{"name": "a", "image": "nginx"}]}


def pod(name: str = "x", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {**PLAIN, **spec}}


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {**PLAIN, **spec}}
    return {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}


async def label(driver: Any, **labels: str) -> Any:
    named = {f"{PREFIX}{name.replace('_', '-')}": value for name, value in labels.items()}
    resource = driver.resource("namespaces")
    body = json.dumps({"metadata": {"labels": named}}).encode()
    patched = await driver.core.pipeline.patch(ADMIN, resource, "", "default", body, "merge", WriteOptions())
    await driver.core.cache.catch_up()
    return patched


async def test_pods_are_refused(driver):
    await label(driver, enforce="restricted")
    with pytest.raises(ForbiddenError) as refused:
        await driver.create("pods", pod())
    assert refused.value.message.startswith(
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container '
        '"a" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities '
    )


async def test_pods_are_warned_of_and_noted(driver):
    await label(driver, audit="baseline", warn="baseline", warn_version="v1.30")
    notes = AuditNotes()
    token = NOTES.set(notes)
    made = await driver.created("pods", pod(hostNetwork=True))
    NOTES.reset(token)
    problem = "host namespaces (hostNetwork=true)"
    assert made.warnings == (f'would violate PodSecurity "baseline:v1.30": {problem}',)
    assert not notes.denied
    assert {key: value for key, value in notes.annotations.items() if key.startswith(PREFIX)} == {
        f"{PREFIX}enforce-policy": "privileged:latest",
        f"{PREFIX}audit-violations": f'would violate PodSecurity "baseline:latest": {problem}',
    }


async def test_templates_are_only_warned_of(driver):
    await label(driver, enforce="baseline")
    made = await driver.created("deployments", deployment(hostPID=True))
    assert made.warnings == ('would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)',)
    assert await driver.created("jobs", {"metadata": {"name": "j"}, "spec": {"template": pod(restartPolicy="Never")}})


async def test_a_pod_that_is_there_may_be_labelled(driver):
    await driver.create("pods", pod())
    await label(driver, enforce="restricted")
    await driver.patch("pods", "x", {"metadata": {"labels": {"a": "b"}}})
    images = {"spec": {"containers": [{"name": "a", "image": "other"}]}}
    with pytest.raises(ForbiddenError, match="violates PodSecurity"):
        await driver.patch("pods", "x", images, kind="strategic")


async def test_a_namespace_that_becomes_stricter_tells_of_its_pods(driver):
    await driver.create("pods", pod("b"))
    await driver.create("pods", pod("c", hostPID=True))
    await driver.create("pods", pod("a", hostPID=True))
    await driver.core.cache.catch_up()
    changed = await label(driver, enforce="baseline")
    assert changed.warnings == (
        'existing pods in namespace "default" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 1 other pod): host namespaces",
    )
    assert (await label(driver, enforce="privileged")).warnings == ()


async def test_labels_that_cannot_be_read_are_refused(driver):
    with pytest.raises(InvalidError) as refused:
        await label(driver, enforce="strict", warn_version="1.2")
    assert [(cause.field, cause.message) for cause in refused.value.details.causes] == [
        (
            f"metadata.labels[{PREFIX}enforce]",
            'Invalid value: "strict": must be one of privileged, baseline, restricted',
        ),
        (f"metadata.labels[{PREFIX}warn-version]", 'Invalid value: "1.2": must be "latest" or "v1.x"'),
    ]


def configuration(tmp_path: Any, **content: Any) -> ApiConfig:
    kind = {"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration"}
    whole = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    plugins = [{"name": "PodSecurity", "configuration": {**kind, **content}}]
    file = tmp_path / "admission.yaml"
    file.write_text(yaml.safe_dump({**whole, "plugins": plugins}))
    return ApiConfig(admission_control_config_file=str(file))


async def test_defaults_and_exemptions_are_configured(tmp_path, clock, make_driver):
    config = configuration(
        tmp_path,
        defaults={"enforce": "baseline", "enforce-version": "v1.30"},
        exemptions={"namespaces": ["kube-system"], "usernames": [], "runtimeClasses": ["sandboxed"]},
    )
    async with in_memory_api(clock, config=config) as api:
        driver = make_driver(api)
        with pytest.raises(ForbiddenError, match=r'violates PodSecurity "baseline:v1\.30": host namespaces'):
            await driver.create("pods", pod(hostPID=True))
        await driver.create("pods", pod(hostPID=True), namespace="kube-system")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"defaults": {"enforce": "none"}}, 'defaults.enforce: invalid value "none": must be one of privileged'),
        ({"defaults": {"audit-version": "1"}}, 'defaults.audit-version: invalid value "1": must be "latest" or "v1.x"'),
        ({"defaults": {"forbid": "x"}}, "plugins[0].configuration: defaults.forbid: unknown key; known: audit"),
        ({"exemptions": {"namespaces": ["a", "a"]}}, 'exemptions.namespaces[1]: duplicate value: "a"'),
        ({"exemptions": {"usernames": [""]}}, "exemptions.usernames[0]: "),
    ],
)
async def test_mistakes_are_told_with_their_place(tmp_path, clock, content, problem):
    with pytest.raises(ConfigError) as refused:
        async with in_memory_api(clock, config=configuration(tmp_path, **content)):
            pass
    assert problem in str(refused.value)
