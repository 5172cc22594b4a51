"""Numbers of pods that users give as such or as a percentage (k8s.io/apimachinery pkg/util/intstr). Pure."""

from __future__ import annotations


def resolve(value: int | str | None, total: int, default: int | str, *, up: bool) -> int:
    """Return a count that is given as such or as a percentage of `total`."""
    given = default if value is None else value
    if isinstance(given, int):
        return given
    share = int(given.removesuffix("%")) * total
    return -(-share // 100) if up else share // 100
