"""What a container may do, as its processes find it: users and groups, capabilities, seccomp, /proc, namespaces."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orch_agent.pods.namespaces import PodNamespaces
from orch_agent.runtimes.protocol import UNCONFINED, ContainerError, ExecSpec, LogQuery, SandboxSpec, State

pytestmark = pytest.mark.podman

PEOPLE = "localhost/orch/people:1"
_PASSWD = b"root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/:/bin/sh\n"
_GROUP = b"root:x:0:\nana:x:1000:\nwheel:x:50000:ana,ben\nother:x:60000:ben\n"


@pytest.fixture
def lab(podman_lab: Any) -> Any:
    return podman_lab


@pytest.fixture(scope="module")
def people(podman_node: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image whose user is ana, by name, who is in the group wheel."""
    folder = tmp_path_factory.mktemp("people")
    with tarfile.open(folder / "people.tar", "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "id", "sleep", "cat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, content in {"passwd": _PASSWD, "group": _GROUP}.items():
            entry = tarfile.TarInfo(f"etc/{name}")
            entry.mode, entry.size = 0o644, len(content)
            tar.addfile(entry, io.BytesIO(content))
    podman_node.podman("import", "--change", "USER ana", str(folder / "people.tar"), PEOPLE)
    yield PEOPLE
    podman_node.podman("rmi", "--force", PEOPLE)


async def said(lab: Any, script: str, **settings: Any) -> str:
    """Return what a script prints in a container of its own."""
    image = settings.pop("image", "")
    spec = lab.spec(f"c{len(await lab.runtime.containers())}", command=("sh", "-c", script), **settings)
    made = await lab.runtime.create(spec if not image else type(spec)(**{**_fields(spec), "image": image}))
    await lab.runtime.start(made)
    await lab.until(made, State.EXITED)
    return (
        b"".join([line.data async for lines in lab.runtime.logs(made, LogQuery()) for line in lines]).decode().strip()
    )


def _fields(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def _identity(text: str) -> tuple[str, str, set[str]]:
    """Return user, group and groups, as numbers, of what id prints."""
    user, group, groups = (part.partition("=")[2] for part in text.split(" "))
    name = re.compile(r"\(.*?\)")
    return name.sub("", user), name.sub("", group), set(name.sub("", groups).split(","))


_STATUS = "cat /proc/self/status"


async def status(lab: Any, **settings: Any) -> dict[str, str]:
    lines = (await said(lab, _STATUS, **settings)).splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


async def test_groups_of_the_image_count_as_the_policy_says(lab: Any, people: str) -> None:
    merged = await said(lab, "id", image=people, group=3000, supplemental_groups=(4000,))
    assert _identity(merged) == ("1000", "3000", {"3000", "4000", "50000"})
    strict = await said(lab, "id", image=people, supplemental_groups=(4000,), only_these_groups=True)
    assert _identity(strict) == ("1000", "1000", {"1000", "4000"})


async def test_without_a_group_it_is_the_users_own(lab: Any, people: str) -> None:
    found = await said(lab, "id", image=people, user=1000, supplemental_groups=(4000,))
    assert _identity(found) == ("1000", "1000", {"1000", "4000", "50000"})


async def test_commands_have_the_groups_of_their_container(lab: Any) -> None:
    made = await lab.run(user=1234, group=3000, supplemental_groups=(4000,))
    session = await lab.runtime.exec(made, ExecSpec(command=("id",)))
    output = b"".join([data async for _, data in session.output()]).decode()
    await session.close()
    user, group, groups = _identity(output.strip())
    assert (user, group, groups | {"3000"}) == ("1234", "3000", {"3000", "4000"})


@pytest.mark.parametrize(
    ("added", "dropped", "expected"),
    [
        ((), (), 0xA80425FB),
        (("NET_ADMIN",), ("KILL",), (0xA80425FB | 1 << 12) & ~(1 << 5)),
        (("NET_BIND_SERVICE",), ("ALL",), 1 << 10),
        (("CHOWN",), ("CHOWN",), 0xA80425FB & ~1),
    ],
)
async def test_capabilities(lab: Any, added: tuple[str, ...], dropped: tuple[str, ...], expected: int) -> None:
    found = await status(lab, capabilities_added=added, capabilities_dropped=dropped)
    assert int(found["CapEff"], 16) == expected


async def test_all_capabilities_are_the_kernels(lab: Any) -> None:
    found = await status(lab, capabilities_added=("ALL",), capabilities_dropped=("SYS_ADMIN",))
    assert int(found["CapBnd"], 16) == int(_own_bounding_set(), 16) & ~(1 << 21)


def _own_bounding_set() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("CapBnd"))


async def test_a_capability_that_does_not_exist_is_refused(lab: Any) -> None:
    with pytest.raises(ContainerError, match="CAP_NO_SUCH_THING"):
        await lab.runtime.create(lab.spec(capabilities_added=("NO_SUCH_THING",)))


async def test_seccomp_and_privileges(lab: Any, tmp_path: Path) -> None:
    assert (await status(lab, seccomp=UNCONFINED))["Seccomp"] == "0"
    by_default = await status(lab, no_new_privileges=True)
    assert by_default["Seccomp"] == "2"
    assert by_default["NoNewPrivs"] == "1"
    profile = tmp_path / "no-chmod.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmod", "fchmodat", "fchmodat2"], '
        '"action": "SCMP_ACT_ERRNO"}]}'
    )
    assert "not permitted" in await said(lab, "/bin/busybox chmod 700 /tmp 2>&1", seccomp=str(profile))
    with pytest.raises(ContainerError, match="no such file"):
        await lab.runtime.create(lab.spec("none", seccomp=str(tmp_path / "none.json")))


async def test_what_proc_hides_and_shows(lab: Any) -> None:
    script = "grep -q ' /proc/sys .*ro' /proc/self/mountinfo && echo guarded; true"
    assert await said(lab, script) == "guarded"
    assert await said(lab, script, unmasked=True) == ""


async def test_a_privileged_container_has_the_nodes_devices(lab: Any) -> None:
    assert "kmsg" not in await said(lab, "ls /dev")
    found = await said(lab, "ls /dev; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status", privileged=True)
    assert "kmsg" in found
    assert f"CapEff:\t{_own_bounding_set()}" in found
    assert "Seccomp:\t0" in found


async def test_a_file_system_that_is_read_only_is_so_everywhere(lab: Any) -> None:
    script = "for each in / /tmp /run /var/tmp /etc; do touch $each/x 2>/dev/null && echo $each; done; true"
    assert await said(lab, script, read_only=True) == ""
    assert await said(lab, "touch /dev/shm/x && echo shm", read_only=True) == "shm"


async def test_namespaces_of_the_node(lab: Any) -> None:
    def own(kind: str) -> str:
        return str(Path(f"/proc/self/ns/{kind}").readlink())

    script = "ls -l /proc/self/ns/pid /proc/self/ns/ipc"
    private = await said(lab, script)
    assert own("pid") not in private
    assert own("ipc") not in private
    shared = await said(lab, script, sandbox=SandboxSpec(host_processes=True, host_ipc=True))
    assert own("pid") in shared
    assert own("ipc") in shared


async def test_containers_of_a_pod_share_memory_and_processes(lab: Any, podman_node: Any, tmp_path: Path) -> None:
    namespaces = PodNamespaces(podman_node.volatile / "shared")
    sysctls = (("kernel.shm_rmid_forced", "1"),)
    wanted = SandboxSpec(shares_processes=True, sysctls=sysctls)
    shared, made = await namespaces.ensure(lab.uid, wanted, lab.namespace)
    assert made
    try:
        again, made_again = await namespaces.ensure(lab.uid, wanted, lab.namespace)
        assert (again, made_again) == (shared, False)
        first = await lab.run("first", sandbox=shared, command=("sh", "-c", "echo here > /dev/shm/note; sleep 100"))
        pid_one = "cat /proc/1/cmdline; cat /dev/shm/note; cat /proc/sys/kernel/shm_rmid_forced; cat /proc/*/cmdline"
        seen = await said(lab, f"sleep 0.3; {pid_one}", sandbox=shared)
        assert seen.startswith("/pause\x00")
        assert "here\n1" in seen
        assert "sleep\x00100" in seen
        nosy = "ls /proc/1/root; grep -E 'CapPrm|NoNewPrivs|Uid' /proc/1/status; ls -l /proc/1/ns/net /proc/self/ns/net"
        found = await said(
            lab, nosy, sandbox=shared, capabilities_added=("SYS_PTRACE",), network_namespace=lab.namespace
        )
        lines = found.splitlines()
        assert lines[0] == "pause"
        assert "CapPrm:\t0000000000000000" in found
        assert "NoNewPrivs:\t1" in found
        assert "Uid:\t65535" in found
        assert lines[-1].partition("->")[2] == lines[-2].partition("->")[2]
        orphan = "(sleep 0.1 &); sleep 0.5; cat /proc/[0-9]*/stat | grep ' Z ' ; true"
        assert await said(lab, orphan, sandbox=shared) == ""
        await lab.runtime.remove(first)
    finally:
        await namespaces.remove(lab.uid)
    assert await namespaces.owners() == []
    assert not (podman_node.volatile / "shared" / lab.uid).exists()
