"""What an image may be called, and its full name.

The grammar is github.com/distribution/reference's.
"""

from __future__ import annotations

import re
from typing import Final

_REFERENCE: Final = re.compile(
    r"(?:[\w.-]+(?::\d+)?/|\[[0-9a-fA-F:]+\](?::\d+)?/)?"  # a registry
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][\w.+-]*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def is_image_name(text: str) -> bool:
    """Tell whether an image can be called so."""
    return _REFERENCE.fullmatch(text) is not None


def qualified(image: str) -> str:
    """Return an image's full name: `nginx` is docker.io/library/nginx:latest, as Kubernetes reads it."""
    first, slash, rest = image.partition("/")
    if not slash:
        host, path = "docker.io", f"library/{image}"
    elif "." in first or ":" in first or first == "localhost":
        host, path = first, rest
    else:
        host, path = "docker.io", image
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    if "@" not in path and ":" not in path.rpartition("/")[2]:
        path = f"{path}:latest"
    return f"{host}/{path}"


def repository(image: str) -> str:
    """Return the full name without tag and digest: what credentials are looked up by."""
    name = qualified(image).partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"
