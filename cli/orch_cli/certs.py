"""`orch certs`: which certificates a cluster has, until when they count, and new ones for all.

    orch certs           name, what for, whose word it is, and its end
    orch certs renew     make them anew, whenever they end; keys and authorities stay

A cluster that runs takes new ones up by itself, and makes them in time by itself.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orch.clock import rfc3339
from orch.errors import OrchError
from orch_cli.cluster import Cluster
from orch_cli.layout import Layout
from orch_cli.state import load_state

_PURPOSES: Final = ((ExtendedKeyUsageOID.SERVER_AUTH, "server"), (ExtendedKeyUsageOID.CLIENT_AUTH, "client"))


class Shown(msgspec.Struct, frozen=True):
    """A certificate as a line of the table."""

    name: str
    purpose: str
    subject: str
    issuer: str
    ends: datetime


def add_certs(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `orch certs`."""
    what = command.add_subparsers(dest="what", metavar="WHAT")
    for name, told in (("list", "say which there are (this is the default)"), ("renew", "make all of them anew")):
        one = what.add_parser(name, help=told)
        one.add_argument("--state", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def certs(parsed: argparse.Namespace, layout: Layout) -> int:
    """Do what is asked of the certificates. Raises OrchError."""
    if parsed.what == "renew":
        state = load_state(layout)
        if state is None:
            raise OrchError(f"there is no cluster in {layout.root}; `orch prepare` renews what it has written")
        Cluster(layout, state).identities(renew=True)
    found = read_certificates(layout.pki)
    if not found:
        raise OrchError(f"there are no certificates in {layout.pki}")
    _show(found, datetime.now(UTC))
    return 0


def read_certificates(folder: Path) -> list[Shown]:
    """Return the certificates of a folder and those below, the authorities first. Raises OrchError."""
    return sorted((_read(folder, file) for file in folder.rglob("*.crt")), key=lambda one: one.purpose != "authority")


def _read(folder: Path, file: Path) -> Shown:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise OrchError(f"{file} cannot be read: {error}") from error
    return Shown(
        name=str(file.relative_to(folder).with_suffix("")),
        purpose=_purpose(certificate),
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        ends=certificate.not_valid_after_utc,
    )


def _purpose(certificate: x509.Certificate) -> str:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return "authority"
    return "+".join(word for purpose, word in _PURPOSES if purpose in usage)


def _name(name: x509.Name) -> str:
    common = [str(each.value) for each in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(each.value) for each in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    named = f" ({', '.join(groups)})" if groups else ""
    return f"{''.join(common)}{named}"


def _show(found: list[Shown], now: datetime) -> None:
    rows = [("NAME", "PURPOSE", "WHOSE", "ISSUER", "ENDS", "LEFT")]
    rows += [(one.name, one.purpose, one.subject, one.issuer, rfc3339(one.ends), left(one.ends - now)) for one in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def left(span: timedelta) -> str:
    """Return how long something lasts yet, as kubectl writes ages."""
    seconds = int(span.total_seconds())
    if seconds <= 0:
        return "over"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
