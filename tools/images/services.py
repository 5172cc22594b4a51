"""Builds what deploy/compose runs where no registry can be reached: our own images, and stand-ins for etcd and NATS.

    python tools/images/services.py [--store .orch-images]

They have the names that compose.yaml gives them, and stand on a base made from Debian's (or Ubuntu's) packages. Python
packages are fetched by this system's pip, as the lock files say; the builds use only those. The images, and the layers
that later builds begin with, are kept in STORE/services, which another Podman can use read-only:
`--storage-opt additionalimagestore=STORE/services`. Nothing changed, nothing is done. Needs root, debootstrap, podman
and runc.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from build import HERE, base_archive, run, say

ROOT = HERE.parents[1]
COMPOSE = ROOT / "deploy/compose/compose.yaml"
DEBIAN = "localhost/orch-debian"
PYTHON = "localhost/orch-python"
OURS = ("prepare", "api", "scheduler", "controllers", "node-1")
STAND_INS = ("etcd", "nats")
RECIPES = tuple(HERE / name / "Containerfile" for name in ("python", *STAND_INS))
SOURCES = (
    "lib",
    "services",
    "cli",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "tools/hatch_build.py",
    "tools/schema.py",
)


def main() -> None:
    """Build what has changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path(".orch-images"), help="where to keep the images")
    store: Path = parser.parse_args().store.resolve()
    store.mkdir(parents=True, exist_ok=True)
    with only_builder(store):
        stable, whole = fingerprint((*RECIPES, *locks())), fingerprint((*RECIPES, *locks(), *files()))
        marker = store / "services.built"
        built = marker.read_text().split() if marker.exists() else [""]
        if built == [stable, whole] and (store / "services").exists():
            print(f"All images of services are in {store}")
            return
        if os.geteuid() != 0:
            raise SystemExit("building images needs root: run it with sudo")
        if built[0] != stable:
            # What was built from other packages is of no more use, and would only take room.
            shutil.rmtree(store / "services", ignore_errors=True)
            shutil.rmtree(store / "wheels", ignore_errors=True)
        marker.write_text(stable)
        build(store)
        marker.write_text(f"{stable} {whole}")


def build(store: Path) -> None:
    """Build all images of compose.yaml that are ours or have a stand-in; what has not changed comes from the cache."""
    base = base_archive(store)
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    with podman_of(store) as podman:
        if not podman("images", "--quiet", DEBIAN).strip():
            say("importing the base")
            podman("import", str(base), DEBIAN)
        build_one(podman, PYTHON, HERE / "python", DEBIAN)
        fetch_packages(store, podman)
        with tempfile.TemporaryDirectory() as context:
            shutil.copy(HERE / "nats/Containerfile", context)
            shutil.copy(Path(sys.executable).parent / "nats-server", context)
            folders = {"etcd": HERE / "etcd", "nats": Path(context)}
            first, *others = OURS

            def build_ours(name: str) -> None:
                options = ("--file", str(ROOT / services[name]["build"]["dockerfile"]), *offline(store / "wheels"))
                build_one(podman, services[name]["image"], ROOT, PYTHON, *options)

            def build_stand_in(name: str) -> None:
                build_one(podman, services[name]["image"], folders[name], DEBIAN)

            build_ours(first)  # alone, because it makes the stages that all share
            with ThreadPoolExecutor(max_workers=2) as pool:
                jobs = [pool.submit(build_ours, name) for name in others]
                jobs += [pool.submit(build_stand_in, name) for name in STAND_INS]
            for job in jobs:
                job.result()


def offline(wheels: Path) -> tuple[str, ...]:
    """Return the options with which a build takes Python packages from a folder, and from nowhere else."""
    mounted = "/wheels-of-lock"
    arguments = ("--build-arg", "PIP_NO_INDEX=1", "--build-arg", f"PIP_FIND_LINKS={mounted}")
    return ("--volume", f"{wheels}:{mounted}:ro", *arguments)


class Podman:
    """Podman over the store."""

    def __init__(self, root: Path, volatile: Path) -> None:
        self._options = [
            *("--root", str(root), "--runroot", str(volatile / "run"), "--tmpdir", str(volatile / "tmp")),
            *("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        ]

    def __call__(self, *arguments: str) -> str:
        """Run one podman command; return what it printed."""
        return run("podman", *self._options, *arguments)


@contextlib.contextmanager
def podman_of(store: Path) -> Iterator[Podman]:
    """Give Podman over the store's folder; nothing stays mounted, and nothing in /run, afterwards."""
    root = store / "services"
    # Podman remembers in its folder where the volatile part is: it has to be at the same place the next time.
    volatile = Path("/run") / f"orch-images-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}"
    volatile.mkdir(parents=True, exist_ok=True)
    try:
        yield Podman(root, volatile)
    finally:
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for path in sorted((path for path in mounted if Path(path).is_relative_to(root)), key=len, reverse=True):
            subprocess.run(["umount", path], check=True)
        shutil.rmtree(volatile)


def build_one(podman: Podman, image: str, context: Path, base: str, *options: str) -> None:
    """Build one image on `base`."""
    say(f"building {image}")
    common = ("--network", "host", "--layers", "--pull-never", "--build-arg", f"BASE={base}", "--tag", image)
    podman("build", *common, *options, str(context))


def fetch_packages(store: Path, podman: Podman) -> None:
    """Fetch the wheels of all lock files, for the base's Python, which has to be like ours."""
    run_options = ("--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    theirs = podman("run", *run_options, PYTHON, "python3", "-c", VERSION).strip()
    ours = run(sys.executable, "-c", VERSION).strip()
    if theirs != ours:
        raise SystemExit(f"the base has Python {theirs} and .venv has {ours}: make .venv with the system's own python3")
    if (store / "wheels").exists():
        return
    say("fetching the packages of the services' lock files")
    unfinished = store / "wheels.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps")
    for lock in locks():
        run(*pip, "--require-hashes", "--dest", str(unfinished), "--requirement", str(lock))
    unfinished.replace(store / "wheels")


VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def locks() -> list[Path]:
    """Return the lock files of what goes into images."""
    return [
        *sorted(ROOT.glob("services/*/requirements.lock")),
        ROOT / "cli/requirements.lock",
        ROOT / "tools/wheel.lock",
    ]


def files() -> Iterator[Path]:
    """Yield all else that an image is made of."""
    yield from (COMPOSE, ROOT / ".dockerignore", Path(__file__))
    for source in SOURCES:
        path = ROOT / source
        yield from (path,) if path.is_file() else (each for each in sorted(path.rglob("*")) if each.is_file())


def fingerprint(paths: Iterable[Path]) -> str:
    """Return a digest of files' names and contents; caches of Python's are no part of it."""
    digest = hashlib.sha256()
    for path in paths:
        if path.parent.name != "__pycache__":
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def only_builder(store: Path) -> Iterator[None]:
    """Wait for others who build into this store."""
    with (store / "services.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
