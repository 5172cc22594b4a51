from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orch_agent.pods.environment import ConfigurationError
from orch_agent.pods.security import Rights, SecuritySettings, rights_of
from orch_agent.runtimes.podman.accounts import Account, account_of
from orch_agent.runtimes.podman.capabilities import changes
from orch_agent.runtimes.protocol import UNCONFINED

SETTINGS = SecuritySettings(profiles=Path("/profiles"))


async def rights(
    node: Any,
    own: dict[str, Any] | None = None,
    of_pod: dict[str, Any] | None = None,
    image_user: str = "",
    settings: SecuritySettings = SETTINGS,
) -> Rights:
    async def of_image(image: str) -> str:
        assert image == "nginx:1"
        return image_user

    pod = node.pod({"name": "web", "securityContext": own}, securityContext=of_pod)
    return await rights_of(pod, pod.spec.containers[0], settings, of_image)


async def test_a_containers_own_words_come_before_its_pods(node: Any) -> None:
    of_pod = {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4, 3], "runAsNonRoot": True}
    found = await rights(node, {"runAsUser": 5}, of_pod)
    assert (found.user, found.group, found.supplemental_groups) == (5, 2, (3, 4))
    found = await rights(node, {"runAsUser": 0, "runAsNonRoot": False}, of_pod)
    assert found.user == 0


async def test_without_a_word_the_image_says_who_and_nothing_is_confined(node: Any) -> None:
    found = await rights(node)
    assert found == Rights(seccomp=UNCONFINED)
    assert (await rights(node, settings=SecuritySettings(seccomp_default=True))).seccomp == ""


@pytest.mark.parametrize(
    ("own", "image_user", "problem"),
    [
        ({"runAsUser": 0}, "1000", "container's runAsUser breaks non-root policy"),
        ({}, "", "container has runAsNonRoot and image will run as root"),
        ({}, "0:0", "container has runAsNonRoot and image will run as root"),
        ({}, "nginx:nginx", r"image has non-numeric user \(nginx\), cannot verify user is non-root"),
    ],
)
async def test_who_must_not_be_root_is_not(node: Any, own: dict[str, Any], image_user: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=rf'{problem} \(pod: "web-1_default\(u1\)", container: web\)'):
        await rights(node, own, {"runAsNonRoot": True}, image_user)


async def test_a_group_alone_keeps_the_images_user(node: Any) -> None:
    found = await rights(node, {"runAsGroup": 7}, image_user="1000:50")
    assert (found.user, found.username, found.group) == (1000, "", 7)
    found = await rights(node, {"runAsGroup": 7}, image_user="nginx")
    assert (found.user, found.username, found.group) == (None, "nginx", 7)
    assert (await rights(node, {"runAsGroup": 7})).user == 0


async def test_profiles(node: Any) -> None:
    local = {"type": "Localhost", "localhostProfile": "team/web.json"}
    assert (await rights(node, None, {"seccompProfile": {"type": "RuntimeDefault"}})).seccomp == ""
    assert (await rights(node, {"seccompProfile": local})).seccomp == "/profiles/team/web.json"
    assert (await rights(node, {"seccompProfile": local, "privileged": True})).seccomp == UNCONFINED
    for bad in ("../web.json", "/etc/web.json"):
        with pytest.raises(ConfigurationError, match="must be below"):
            await rights(node, {"seccompProfile": {**local, "localhostProfile": bad}})
    assert (await rights(node, {"appArmorProfile": {**local, "localhostProfile": "web"}})).app_armor == "web"
    assert (await rights(node, {"appArmorProfile": {"type": "Unconfined"}})).app_armor == UNCONFINED


async def test_the_rest_is_the_containers_alone(node: Any) -> None:
    own = {
        "allowPrivilegeEscalation": False,
        "procMount": "Unmasked",
        "readOnlyRootFilesystem": True,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
    }
    found = await rights(node, own, {"supplementalGroupsPolicy": "Strict"})
    assert found.no_new_privileges
    assert found.unmasked
    assert found.read_only
    assert found.only_these_groups
    assert (found.capabilities_added, found.capabilities_dropped) == (("NET_ADMIN",), ("ALL",))


@pytest.mark.parametrize(
    ("added", "dropped", "asked"),
    [
        ((), (), ([], [])),
        (("ALL",), (), (["ALL"], [])),
        (("ALL",), ("sys_admin",), (["ALL"], ["CAP_SYS_ADMIN"])),
        (("net_admin", "CHOWN"), ("ALL",), (["CAP_CHOWN", "CAP_NET_ADMIN"], ["ALL"])),
        (("ALL",), ("ALL",), ([], ["ALL"])),
        (("KILL", "CAP_SYS_TIME"), ("KILL",), (["CAP_SYS_TIME"], ["CAP_KILL"])),
    ],
)
def test_capabilities_are_asked_of_podman(added: Any, dropped: Any, asked: Any) -> None:
    assert changes(added, dropped) == asked


def layer(folder: Path, **files: str) -> Path:
    (folder / "etc").mkdir(parents=True)
    for name, content in files.items():
        (folder / "etc" / name).write_text(content)
    return folder


def test_accounts_are_those_of_the_topmost_layer_that_has_any(tmp_path: Path) -> None:
    below = layer(
        tmp_path / "below",
        passwd="root:x:0:0::/:\nana:x:1000:100::/:\nbad line\nx:x:y:z::\n",
        group="users:x:100:ana\nwheel:x:10:ben,ana\nodd:x:none:ana\n",
    )
    layers = [tmp_path / "none", below]
    assert account_of(layers, 1000, "") == Account(1000, 100, (10,))
    assert account_of(layers, None, "ana") == Account(1000, 100, (10,))
    assert account_of(layers, None, "nobody") is None
    assert account_of(layers, 77, "") == Account(77, 0)
    above = layer(tmp_path / "above", group="other:x:11:ana\n")
    assert account_of([above, below], 1000, "") == Account(1000, 100, (11,))


def test_no_link_in_an_image_leads_out_of_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("ana:x:1000:100::/:\n")
    folder = tmp_path / "image"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "passwd").symlink_to(secret)
    assert account_of([folder], 1000, "") == Account(1000, 0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "etc").symlink_to(layer(tmp_path / "outside", passwd="ana:x:1000:100::/:\n") / "etc")
    assert account_of([tmp_path / "other"], 1000, "") == Account(1000, 0)
