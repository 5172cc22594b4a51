"""Check, without a network, that what is installed is what somebody looked at: `python tools/locked.py [--root DIR]`.

requirements.lock pins every package that pyproject.toml asks for, in every extra, to a version within its bounds and to
hashes; nothing in it comes from elsewhere than a registry; the locks of the images are parts of it. Whether a pinned
version has a known vulnerability cannot be said without asking somebody: `make audit` does.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCK = "requirements.lock"
BUILD = ("editables", "setuptools")
"""What building wheels needs beside pyproject's `build-system.requires`; see tools/lock.sh."""
IMAGES = {"services/api": "api", "services/scheduler": "scheduler", "services/controllers": "controllers"}
IMAGES |= {"services/agent": "agent", "cli": "cli"}
"""The folders of images, each with a lock of its own, and the extra that it installs."""
PYTHONS = ("3.11", "3.13")

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Pin(NamedTuple):
    """A package as a lock has it; `hashes` are what one of its files has to have."""

    name: str
    version: Version
    marker: Marker | None
    hashes: frozenset[str]

    def holds(self, python: str) -> bool:
        """Return whether it is what this Python on Linux installs."""
        environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
        return self.marker is None or self.marker.evaluate(environment)


class Problems(list[str]):
    """What is wrong, each as a line that names file and package."""


def main() -> None:
    """Print what is wrong; exit with 1 when anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).resolve().parent.parent, help="the project's folder"
    )
    problems = check(parser.parse_args().root)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


def check(root: Path) -> list[str]:
    """Return what is wrong with the locks of a project."""
    problems = Problems()
    project = tomllib.loads((root / "pyproject.toml").read_text())
    whole = read(root / LOCK, LOCK, problems)
    extras: dict[str, list[str]] = project["project"].get("optional-dependencies", {})
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"], *BUILD]
    wanted += [text for texts in extras.values() for text in texts]
    check_bounds(LOCK, wanted, whole, project["project"]["name"], problems)
    for folder, extra in IMAGES.items():
        name = f"{folder}/{LOCK}"
        part = read(root / name, name, problems)
        check_part(name, part, whole, problems)
        check_bounds(name, with_extra(project, extra), part, project["project"]["name"], problems)
    check_part("tools/wheel.lock", read(root / "tools/wheel.lock", "tools/wheel.lock", problems), whole, problems)
    return problems


def read(file: Path, name: str, problems: Problems) -> list[Pin]:
    """Return what a lock pins; whatever else is in it is a problem."""
    pins: list[Pin] = []
    for line in _lines(file.read_text()):
        text, *options = (part.strip() for part in re.split(r"\s(?=--)", line))
        if text.startswith("-"):
            problems.append(f"{name}: {text}: only packages belong here, no options")
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            problems.append(f"{name}: {text}: {error}")
            continue
        exact = [each.version for each in requirement.specifier if each.operator == "==" and "*" not in each.version]
        hashes = frozenset(match[1] for option in options if (match := _HASH.fullmatch(option)))
        if requirement.url or requirement.extras or len(requirement.specifier) != 1 or not exact:
            problems.append(f"{name}: {text}: is not pinned to one version by ==")
        elif not hashes or len(hashes) != len(options):
            problems.append(f"{name}: {text}: needs sha256 hashes, and nothing else")
        else:
            pins.append(Pin(canonicalize_name(requirement.name), Version(exact[0]), requirement.marker, hashes))
    if not pins:
        problems.append(f"{name}: pins nothing")
    return pins


def check_bounds(name: str, wanted: Iterable[str], pins: list[Pin], own: str, problems: Problems) -> None:
    """Note what is asked for and not locked, or locked in a version that was not asked for."""
    for text in dict.fromkeys(wanted):
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) == canonicalize_name(own):
            continue
        found = [pin for pin in pins if pin.name == canonicalize_name(requirement.name)]
        for python in PYTHONS:
            here = [pin for pin in found if pin.holds(python)]
            if len(here) != 1:
                problems.append(f"{name}: {text}: is locked {len(here)} times for Python {python}")
            elif not requirement.specifier.contains(here[0].version, prereleases=True):
                problems.append(f"{name}: {text}: is locked as {here[0].version}")


def check_part(name: str, part: list[Pin], whole: list[Pin], problems: Problems) -> None:
    """Note what a part has that the whole has not, or has otherwise."""
    known = {(pin.name, pin.version): pin.hashes for pin in whole}
    for pin in part:
        if known.get((pin.name, pin.version)) != pin.hashes:
            problems.append(f"{name}: {pin.name}=={pin.version}: is not what {LOCK} says")


def with_extra(project: dict[str, Any], extra: str) -> list[str]:
    """Return what the project needs together with an extra, and with those that the extra names."""
    texts: list[str] = [*project["project"]["dependencies"]]
    rest = [extra]
    while rest:
        for text in project["project"]["optional-dependencies"][rest.pop()]:
            requirement = Requirement(text)
            rest += sorted(requirement.extras) if requirement.name == project["project"]["name"] else []
            texts.append(text)
    return texts


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a lock, those joined that end in a backslash, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line


if __name__ == "__main__":
    main()
