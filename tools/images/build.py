"""Builds images from Debian's (or Ubuntu's) own packages into a folder that a registry can serve.

    python tools/images/build.py [--store .orch-images] [nginx busybox debian]

For machines that reach an archive of packages but no image registry. The images carry the names of those on Docker
Hub that they stand in for; `orch up --mirror STORE/registry` serves them to the nodes under these names. A finished
store is kept: a second run takes no time. Needs root, debootstrap, podman, runc and docker-registry.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASE = "docker.io/library/debian:bookworm-slim"
IMAGES = {
    "debian": ("docker.io/library/debian:bookworm-slim", "docker.io/library/debian:latest"),
    "nginx": ("docker.io/library/nginx:latest", "docker.io/library/nginx:stable"),
    "busybox": ("docker.io/library/busybox:latest",),
}
REGISTRY_START_DEADLINE = 10.0


class Podman:
    """Podman with a storage of its own, which is thrown away afterwards."""

    def __init__(self, scratch: Path) -> None:
        # Sockets live below the run folders, and a socket's path has at most 107 characters: hence not in the store.
        self._options = [
            *("--root", str(scratch / "root"), "--runroot", str(scratch / "run"), "--tmpdir", str(scratch / "tmp")),
            *("--runtime", "runc", "--events-backend", "none"),
        ]

    def __call__(self, *arguments: str) -> str:
        """Run one podman command; return what it printed."""
        return run("podman", *self._options, *arguments)


def main() -> None:
    """Build what is missing of the images that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path(".orch-images"), help="where to keep the images")
    parser.add_argument("images", nargs="*", default=["debian", "nginx", "busybox"], metavar="IMAGE")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.images) - IMAGES.keys())
    if unknown:
        parser.error(f"no such image: {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    store: Path = arguments.store.resolve()
    missing = [image for image in arguments.images if not is_built(store, image)]
    if not missing:
        print(f"All images are in {store}")
        return
    if os.geteuid() != 0:
        raise SystemExit("building images needs root: run it with sudo")
    build(store, missing)


def build(store: Path, images: list[str]) -> None:
    """Build `images` and put them into the store's registry folder."""
    store.mkdir(parents=True, exist_ok=True)
    base = base_archive(store)
    with tempfile.TemporaryDirectory(prefix="orch-images-", dir="/var/tmp") as scratch:
        podman = Podman(Path(scratch))
        try:
            say("importing the base")
            podman("import", "--change", 'CMD ["bash"]', str(base), BASE)
            with registry(store / "registry", Path(scratch)) as address:
                for image in images:
                    build_one(podman, image, address)
                    marker(store, image).write_text(fingerprint(image))
        finally:
            podman("system", "reset", "--force")


def build_one(podman: Podman, image: str, address: str) -> None:
    """Build one image and push it under all its names."""
    first = IMAGES[image][0]
    if image != "debian":
        say(f"building {first}")
        folder = HERE / image
        podman("build", "--network", "host", "--build-arg", f"BASE={BASE}", "--tag", first, str(folder))
    for name in IMAGES[image]:
        target = f"{address}/{name.removeprefix('docker.io/')}"
        podman("push", "--tls-verify=false", "--quiet", BASE if image == "debian" else first, f"docker://{target}")


def base_archive(store: Path) -> Path:
    """Return a tar archive of a minimal system, made by debootstrap from the archive that apt is configured with."""
    archive = store / "base.tar"
    if archive.exists():
        return archive
    suite, mirror, components = package_source()
    say(f"making a minimal {suite} system from packages (about half a minute)")
    with tempfile.TemporaryDirectory(prefix="orch-base-", dir="/var/tmp") as scratch:
        root = Path(scratch) / "root"
        run("debootstrap", "--variant=minbase", f"--components={','.join(components)}", suite, str(root), mirror)
        shutil.rmtree(root / "var/cache/apt/archives")
        unfinished = archive.with_suffix(".unfinished")
        run("tar", "--directory", str(root), "--create", "--file", str(unfinished), ".")
    unfinished.replace(archive)
    return archive


def package_source() -> tuple[str, str, list[str]]:
    """Return (suite, mirror, components) of this system's main archive, as apt itself understands its sources."""
    suite = os_release().get("VERSION_CODENAME", "")
    listed = run(
        "apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(SITE)", "Identifier: Packages"
    ).splitlines()
    entries = [line.split(maxsplit=2) for line in listed]
    ours = [(component, site) for release, component, site in entries if release == suite]
    mirror = next((site for component, site in ours if component == "main"), "")
    if not mirror:
        raise SystemExit(f"apt has no source for the main archive of {suite or 'this system'}")
    if mirror.startswith("mirror+file:"):
        mirror = Path(mirror.removeprefix("mirror+file:")).read_text().split()[0]
    components = sorted({component for component, _ in ours if component in {"main", "universe"}})
    return suite, mirror, components


def os_release() -> dict[str, str]:
    """Return what /etc/os-release says."""
    lines = Path("/etc/os-release").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, _, value in pairs}


@contextlib.contextmanager
def registry(storage: Path, scratch: Path) -> Iterator[str]:
    """Run a registry over `storage` on a free port of 127.0.0.1 within the context; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = scratch / "registry.json"  # JSON is YAML
    settings = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": address},
    }
    config.write_text(json.dumps(settings))
    with (scratch / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        await_registry(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=10)


def await_registry(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the registry answers."""
    deadline = time.monotonic() + REGISTRY_START_DEADLINE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{address}/v2/", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("docker-registry did not start")


def is_built(store: Path, image: str) -> bool:
    """Say whether the store holds the image as its recipe is today."""
    file = marker(store, image)
    return file.exists() and file.read_text() == fingerprint(image) and (store / "registry").exists()


def marker(store: Path, image: str) -> Path:
    """Return the file that says from which recipe the image in the store was built."""
    return store / f"{image}.built"


def fingerprint(image: str) -> str:
    """Return a digest of all that decides what the image becomes."""
    recipe = HERE / image / "Containerfile"
    content = recipe.read_bytes() if recipe.exists() else b""
    return hashlib.sha256(content + repr((IMAGES[image], BASE)).encode()).hexdigest()


def run(*argv: str) -> str:
    """Run a command; return what it printed. When it fails, end with what it said last."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environment())
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise SystemExit(f"{' '.join(argv)} failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def environment() -> dict[str, str]:
    """Return our own environment, with apt's proxy, if it has one, for those that are not apt."""
    proxy = subprocess.run(
        ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    value = proxy.strip().removeprefix("PROXY=").strip("'")
    return {**({"http_proxy": value} if value else {}), **os.environ}


def say(message: str) -> None:
    """Tell the user what takes its time."""
    print(f"  {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
