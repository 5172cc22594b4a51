"""Bootstrap tokens: expired ones go, the others sign cluster-info."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any

from memory_cluster import Cluster

from orch.clock import rfc3339
from orch.objects.scheme import CONFIG_MAPS, SECRETS
from orch_controllers.bootstrap_tokens.signer import signature

INFO = {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "apiVersion: v1\n"}}


def token(name: str, **data: str) -> dict[str, Any]:
    content = {"token-id": name, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **data}
    return {
        "metadata": {"name": f"bootstrap-token-{name}"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in content.items()},
    }


def test_a_signature_is_a_jws_without_its_payload() -> None:
    made = signature("content", "abcdef", "0123456789abcdef")
    head, payload, signed = made.split(".")
    assert payload == ""
    assert base64.urlsafe_b64decode(head + "==") == b'{"alg":"HS256","kid":"abcdef"}'
    body = base64.urlsafe_b64encode(b"content").rstrip(b"=").decode()
    expected = hmac.digest(b"0123456789abcdef", f"{head}.{body}".encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(signed + "=") == expected


async def test_tokens_end_and_sign(cluster: Cluster) -> None:
    soon = rfc3339(cluster.clock.now() + timedelta(seconds=30))
    await cluster.client.create(CONFIG_MAPS, "kube-public", INFO)
    for one in (
        token("aaaaaa"),
        token("bbbbbb", expiration=soon),
        token("cccccc", **{"usage-bootstrap-signing": "false"}),
        token("dddddd", **{"token-id": "eeeeee"}),
        token("ffffff", expiration="when it likes"),
    ):
        await cluster.client.create(SECRETS, "kube-system", one)

    async def signers() -> set[str]:
        found = await cluster.client.get(CONFIG_MAPS, "kube-public", "cluster-info")
        return {name.removeprefix("jws-kubeconfig-") for name in found.data if name != "kubeconfig"}

    async def both_sign() -> bool:
        return await signers() == {"aaaaaa", "bbbbbb"}

    await cluster.eventually(both_sign, 10)
    info = await cluster.client.get(CONFIG_MAPS, "kube-public", "cluster-info")
    expected = signature("apiVersion: v1\n", "aaaaaa", "0123456789abcdef")
    assert info.data["jws-kubeconfig-aaaaaa"] == expected

    async def one_is_gone() -> bool:
        return not await cluster.exists(SECRETS, "kube-system", "bootstrap-token-ffffff")

    await cluster.eventually(one_is_gone, 10)
    await cluster.clock.advance(31)

    async def the_other_too() -> bool:
        return not await cluster.exists(SECRETS, "kube-system", "bootstrap-token-bbbbbb") and await signers() == {
            "aaaaaa"
        }

    await cluster.eventually(the_other_too, 10)
    await cluster.client.patch(CONFIG_MAPS, "kube-public", "cluster-info", {"data": {"kubeconfig": "other"}})

    async def signed_anew() -> bool:
        found = await cluster.client.get(CONFIG_MAPS, "kube-public", "cluster-info")
        return found.data["jws-kubeconfig-aaaaaa"] == signature("other", "aaaaaa", "0123456789abcdef")

    await cluster.eventually(signed_anew, 10)
    left = {"bootstrap-token-aaaaaa", "bootstrap-token-cccccc", "bootstrap-token-dddddd"}
    assert left <= {one.metadata.name for one in await cluster.client.list(SECRETS, "kube-system")}
