"""Images as files, in the form that `docker save` writes and every runtime reads."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def docker_archive(layer: bytes, name: str, config: Mapping[str, Any], *, architecture: str = "") -> bytes:
    """Return an image of one layer (a tar archive), for this machine's architecture unless another is named."""
    document = {
        "architecture": architecture or ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "tests"}],
    }
    encoded = json.dumps(document).encode()
    image = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": image, "RepoTags": [name], "Layers": ["layer.tar"]}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in ((image, encoded), ("layer.tar", layer), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
