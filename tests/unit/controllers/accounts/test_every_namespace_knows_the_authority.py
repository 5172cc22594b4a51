"""The root certificate in every namespace, tokens of Secrets, and roles made of others."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from memory_cluster import Cluster

from orch.objects.cluster import Secret
from orch.objects.meta import LabelSelector, ObjectMeta
from orch.objects.rbac import AggregationRule, ClusterRole, PolicyRule
from orch.objects.scheme import CLUSTER_ROLES, CONFIG_MAPS, NAMESPACES, SECRETS, SERVICE_ACCOUNTS
from orch_controllers.clusterrole_aggregation.reconciler import aggregated
from orch_controllers.root_ca.reconciler import NAME
from orch_controllers.service_account.tokens import ACCOUNT, ACCOUNT_UID, TYPE

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
async def cluster(cluster: Cluster, tmp_path: Path) -> Cluster:
    """Return a cluster whose controllers know the authority."""
    (tmp_path / "ca.crt").write_text(PEM)
    cluster.processes[0][1].cancel()
    await cluster.controllers("informed", root_ca_file=str(tmp_path / "ca.crt"))
    await cluster.eventually(lambda: cluster.processes[1][0].acting)
    return cluster


async def test_the_certificate_is_in_every_namespace_and_stays_right(cluster: Cluster) -> None:
    await cluster.client.create(NAMESPACES, "", {"metadata": {"name": "team"}})

    async def is_right() -> bool:
        if not await cluster.exists(CONFIG_MAPS, "team", NAME):
            return False
        found = await cluster.client.get(CONFIG_MAPS, "team", NAME)
        described = found.metadata.annotations.get("kubernetes.io/description", "")
        return found.data == {"ca.crt": PEM} and described.startswith("Contains a CA bundle")

    await cluster.eventually(is_right, 10)
    await cluster.client.patch(CONFIG_MAPS, "team", NAME, {"data": {"ca.crt": "forged", "more": "x"}})
    await cluster.eventually(is_right, 10)
    await cluster.client.delete(CONFIG_MAPS, "team", NAME)
    await cluster.eventually(is_right, 10)


def secret(name: str, account: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": {ACCOUNT: account}}, "type": TYPE}


async def filled(cluster: Cluster, name: str) -> Secret:
    async def has_token() -> bool:
        return bool((await cluster.client.get(SECRETS, "default", name)).data.get("token"))

    await cluster.eventually(has_token, 10)
    return await cluster.client.get(SECRETS, "default", name)


async def test_a_secret_that_names_an_account_gets_its_token(cluster: Cluster) -> None:
    await cluster.client.create(SERVICE_ACCOUNTS, "default", {"metadata": {"name": "robot"}})
    await cluster.client.create(SECRETS, "default", secret("key", "robot"))
    found = await filled(cluster, "key")
    decoded = {name: base64.b64decode(value).decode() for name, value in found.data.items()}
    assert decoded["ca.crt"] == PEM
    assert decoded["namespace"] == "default"
    account = await cluster.client.get(SERVICE_ACCOUNTS, "default", "robot")
    assert found.metadata.annotations[ACCOUNT_UID] == account.metadata.uid
    tokens = cluster.api.core.tokens
    caller, _ = await tokens.identify(decoded["token"], tokens.audiences) or (None, ())
    assert caller is not None
    assert caller.user == "system:serviceaccount:default:robot"
    version = found.metadata.resource_version
    await cluster.settled(2)
    assert (await cluster.client.get(SECRETS, "default", "key")).metadata.resource_version == version


async def test_a_secret_goes_with_its_account(cluster: Cluster) -> None:
    await cluster.client.create(SERVICE_ACCOUNTS, "default", {"metadata": {"name": "robot"}})
    await cluster.client.create(SECRETS, "default", secret("key", "robot"))
    await filled(cluster, "key")
    await cluster.client.delete(SERVICE_ACCOUNTS, "default", "robot")

    async def gone() -> bool:
        return not await cluster.exists(SECRETS, "default", "key")

    await cluster.eventually(gone, 10)


async def test_other_secrets_are_left_alone(cluster: Cluster) -> None:
    opaque = {"metadata": {"name": "mine", "annotations": {ACCOUNT: "nobody"}}, "data": {"a": "Yg=="}}
    await cluster.client.create(SECRETS, "default", opaque)
    await cluster.settled(2)
    assert (await cluster.client.get(SECRETS, "default", "mine")).data == {"a": "Yg=="}


def role(name: str, *verbs: str, labels: dict[str, str] | None = None) -> ClusterRole:
    rules = tuple(PolicyRule(verbs=(verb,), resources=("pods",), api_groups=("",)) for verb in verbs)
    return ClusterRole(metadata=ObjectMeta(name=name, labels=labels or {}), rules=rules)


def test_an_aggregated_role_has_the_rules_of_those_it_selects_none_twice() -> None:
    selector = LabelSelector(match_labels={"to": "view"})
    whole = ClusterRole(
        metadata=ObjectMeta(name="view", labels={"to": "view"}),
        aggregation_rule=AggregationRule(cluster_role_selectors=(selector,)),
    )
    others = [role("b", "list", "get", labels={"to": "view"}), role("a", "get", labels={"to": "view"}), role("c", "x")]
    assert [rule.verbs for rule in aggregated(whole, [*others, whole])] == [("get",), ("list",)]


async def test_roles_follow_those_they_are_made_of(cluster: Cluster) -> None:
    selector = {"matchLabels": {"to": "watcher"}}
    body = {"metadata": {"name": "watcher"}, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []}
    await cluster.client.create(CLUSTER_ROLES, "", body)
    part = {
        "metadata": {"name": "part", "labels": {"to": "watcher"}},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["watch"]}],
    }
    await cluster.client.create(CLUSTER_ROLES, "", part)

    async def verbs() -> list[tuple[str, ...]]:
        return [rule.verbs for rule in (await cluster.client.get(CLUSTER_ROLES, "", "watcher")).rules]

    async def has_it() -> bool:
        return await verbs() == [("watch",)]

    async def has_nothing() -> bool:
        return await verbs() == []

    await cluster.eventually(has_it, 10)
    await cluster.client.delete(CLUSTER_ROLES, "", "part")
    await cluster.eventually(has_nothing, 10)
