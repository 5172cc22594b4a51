"""Reduce Kubernetes' protobuf definitions to the table of wire numbers that the api reads: prints wire/numbers.txt.

    python tools/wire_numbers.py <folder>/generated.proto ... > services/api/orch_api/wire/numbers.txt

Each argument is one package's definitions, with the package's Go files beside it: a .proto file tells numbers and
types; the tags of the Go structs tell what a field is called in JSON, whether its own fields stand in its parent's
place (`inline`), and whether it is kept when it is zero (`keep`: Go has a pointer, or the tag has no omitempty). The
table holds these facts alone, so that it changes only when the API does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_COMMENT: Final = re.compile(r"^\s*//.*$", re.MULTILINE)
_PACKAGE: Final = re.compile(r"^package ([\w.]+);", re.MULTILINE)
_MESSAGE: Final = re.compile(r"^message (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD: Final = re.compile(
    r"^\s+(?P<label>optional|repeated|map<string,)\s+(?P<type>[\w.]+)>? (?P<name>\w+) = (?P<number>\d+)", re.MULTILINE
)
_GROUP: Final = re.compile(r'^(?:const )?\s*GroupName\s*= "([^"]*)"', re.MULTILINE)
_STRUCT: Final = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_MEMBER: Final = re.compile(r"^\s+(?:(?P<name>\w+)\s+)?(?P<type>[^\s`]+)\s+`(?P<tags>[^`]*)`", re.MULTILINE)
_JSON_TAG: Final = re.compile(r'json:"([^"]*)"')
_NUMBER_TAG: Final = re.compile(r'protobuf:"[a-z0-9]+,(\d+)')

# What Kubernetes writes with code of its own, so that the table names it rather than its fields.
_SPECIAL: Final = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "k8s.io.apimachinery.pkg.runtime.RawExtension": "json",
    "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1": "json",
    "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON": "json",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Time": "time",
    "k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime": "micro-time",
    "k8s.io.api.authentication.v1.AttestationValue": "texts",
    "k8s.io.api.authentication.v1.ExtraValue": "texts",
    "k8s.io.api.authorization.v1.ExtraValue": "texts",
    "k8s.io.api.certificates.v1.ExtraValue": "texts",
}
# Fields that a release has and the definitions of its beta, from which the table was made, have not.
_LATER: Final = {
    "k8s.io.api.core.v1.NodeSystemInfo": " 12 runningInUserNamespace bool keep",
    "k8s.io.api.resource.v1.DeviceCounterConsumption": " 3 compatibilityGroups []string",
}
_UNUSED: Final = frozenset({"Timestamp", "Duration", "Verbs", "TypeMeta"})


class Member(NamedTuple):
    """What a Go struct says of a field."""

    name: str
    inline: bool
    keep: bool


def members(folder: Path) -> dict[tuple[str, int], Member]:
    """Return the tagged fields of the Go structs in `folder`, by struct and number."""
    found: dict[tuple[str, int], Member] = {}
    for path in sorted(folder.glob("*.go")):
        if path.name.startswith("zz_") or path.name.endswith(("_test.go", ".pb.go")):
            continue
        for struct, body in _STRUCT.findall(_COMMENT.sub("", path.read_text())):
            for one in _MEMBER.finditer(body):
                number, tag = _NUMBER_TAG.search(one["tags"]), _JSON_TAG.search(one["tags"])
                if number is not None and tag is not None:
                    name, *options = tag[1].split(",")
                    inline = not name and one["name"] is None
                    omitted = "omitempty" in options or "omitzero" in options
                    found[struct, int(number[1])] = Member(name, inline, one["type"].startswith("*") or not omitted)
    return found


class Package:
    """One .proto file and the Go files beside it."""

    def __init__(self, path: Path) -> None:
        self.text: Final = _COMMENT.sub("", path.read_text())
        package = _PACKAGE.search(self.text)
        if package is None:
            raise SystemExit(f"{path}: it names no package")
        self.name: Final = package[1]
        self.folder: Final = path.parent
        source = self.folder / "register.go"
        group = _GROUP.search(source.read_text()) if source.is_file() else None
        version = self.name.rpartition(".")[2]
        self.api_version: Final = "" if group is None else f"{group[1]}/{version}".removeprefix("/")

    def lines(self, api_versions: dict[str, str]) -> Iterator[str]:
        """Yield the package's part of the table."""
        tagged = members(self.folder)
        yield f"[{self.api_version}]"
        for message, body in _MESSAGE.findall(self.text):
            if f"{self.name}.{message}" in _SPECIAL or message in _UNUSED:
                continue
            yield message
            for field in _FIELD.finditer(body):
                yield self._field(message, field, tagged, api_versions)
            later = _LATER.get(f"{self.name}.{message}")
            if later and f" {later.split()[1]} " not in body:
                yield later

    def _field(
        self, message: str, field: re.Match[str], tagged: dict[tuple[str, int], Member], api_versions: dict[str, str]
    ) -> str:
        number = int(field["number"])
        kind = self._type(field["type"], api_versions)
        if field["label"] != "optional":
            kind = ("[]" if field["label"] == "repeated" else "{}") + kind
        member = tagged.get((message, number), Member(field["name"], inline=False, keep=True))
        flag = " inline" if member.inline else " keep" if member.keep and kind[0] not in "[{" else ""
        return f" {number} {member.name or field['name']} {kind}{flag}"

    def _type(self, written: str, api_versions: dict[str, str]) -> str:
        """Return a type as the table names it: of another package with its apiVersion in front."""
        if "." not in written:
            return _SPECIAL.get(f"{self.name}.{written}", written)
        full = written.lstrip(".")
        package, _, name = full.rpartition(".")
        return _SPECIAL.get(full) or f"{api_versions[package]}.{name}"


def main(paths: list[str]) -> None:
    """Print the table of the given files."""
    packages = [Package(Path(path)) for path in paths]
    api_versions = {package.name: package.api_version for package in packages}
    print("# Wire numbers of the Kubernetes API: number, JSON name, type, flags. Written by tools/wire_numbers.py.")
    for package in sorted(packages, key=lambda one: one.api_version):
        if package.api_version:
            print("\n".join(package.lines(api_versions)))


if __name__ == "__main__":
    main(sys.argv[1:])
