"""What can be said of deploy/compose without a container engine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_project import BIN, ROOT, run

FOLDER = ROOT / "deploy/compose"
RECIPES = [*sorted(ROOT.glob("services/*/Containerfile")), ROOT / "cli/Containerfile"]
LOCKS = [*sorted(ROOT.glob("services/*/requirements.lock")), ROOT / "cli/requirements.lock", ROOT / "tools/wheel.lock"]


def resolved(**environ: str) -> dict[str, Any]:
    """The project as Compose understands it."""
    nowhere = {"DOCKER_HOST": "unix:///nonexistent"}
    command = (BIN / "docker-compose", "--project-directory", FOLDER, "config", "--format", "json")
    return json.loads(run(*command, environ=nowhere | environ))


def test_by_default_all_is_watched_and_the_profile_leaves_that_out() -> None:
    ours = {"prepare", "etcd", "etcd-users", "keeper", "nats", "api", "scheduler", "controllers", "node-1", "node-2"}
    onlookers = {"collector", "jaeger", "prometheus", "grafana"}
    assert set(resolved()["services"]) == ours | onlookers
    assert set(resolved(COMPOSE_PROFILES="")["services"]) == ours


def test_services_export_spans_to_the_collector_only_when_there_is_one() -> None:
    for endpoint in ("http://collector:4318", ""):
        services = resolved(ORCH_OTLP_ENDPOINT=endpoint)["services"]
        told = [
            value
            for each in services.values()
            for key, value in (each.get("environment") or {}).items()
            if "OTLP" in key
        ]
        assert told == [endpoint] * 5


def test_only_the_api_and_web_pages_are_reached_from_the_host_and_only_from_itself() -> None:
    published = {
        name: [(port["host_ip"], port["published"]) for port in service.get("ports", ())]
        for name, service in resolved(COMPOSE_PROFILES="observability,tools")["services"].items()
    }
    assert {name: ports for name, ports in published.items() if ports} == {
        "api": [("127.0.0.1", "6443")],
        "grafana": [("127.0.0.1", "3000")],
        "jaeger": [("127.0.0.1", "16686")],
        "prometheus": [("127.0.0.1", "9090")],
    }


def test_images_of_others_are_pinned() -> None:
    for service in resolved(COMPOSE_PROFILES="observability,tools")["services"].values():
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+\.\d+(-alpine)?$", service["image"]), service["image"]


def test_only_nodes_are_privileged() -> None:
    services = resolved()["services"]
    assert {name for name, service in services.items() if service.get("privileged")} == {"node-1", "node-2"}
    for name in ("api", "scheduler", "controllers"):
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"] is True


def test_what_is_mounted_is_there_or_is_written_by_prepare(tmp_path: Path) -> None:
    run(sys.executable, "-m", "orch_cli", "prepare", "--state", tmp_path)
    for service in resolved(COMPOSE_PROFILES="observability,tools")["services"].values():
        for volume in service.get("volumes", ()):
            source = Path(volume["source"])
            if volume["type"] == "bind" and source.is_relative_to(FOLDER / "state"):
                assert (tmp_path / source.relative_to(FOLDER / "state")).is_dir()
            elif volume["type"] == "bind":
                assert source.exists()


def test_the_stages_that_images_share_are_the_same_in_all() -> None:
    shared = {recipe.read_text().partition("ARG BASE")[2].partition("COPY --from=wheel")[0] for recipe in RECIPES}
    assert (
        len(
            {
                re.sub(r"^COPY \S+/requirements.lock", "COPY requirements.lock", text, flags=re.MULTILINE)
                for text in shared
            }
        )
        == 1
    )


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_what_images_install_is_locked_as_everything_else(lock: Path) -> None:
    def pins(path: Path) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", path.read_text(), re.MULTILINE))

    assert pins(lock)
    assert pins(lock) <= pins(ROOT / "requirements.lock")


def test_prometheus_asks_services_where_they_answer() -> None:
    jobs = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    hosts = {target.partition(":")[0] for job in jobs for each in job["static_configs"] for target in each["targets"]}
    services = resolved()["services"]
    assert hosts <= set(services)
    networks = {name: set(service.get("networks") or ()) for name, service in services.items()}
    assert all(networks[host] & networks["prometheus"] for host in hosts)
