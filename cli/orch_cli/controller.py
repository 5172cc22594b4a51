"""`orch-controller --config=FILE`: api, scheduler and controllers as one process group, from one file.

The file is the specification's, every key of it honoured. Beyond it there is a `nats` section, for a bus that is
already there; without one, the group runs its own, and makes the identities that it and the nodes need.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec

from orch import config as configuration
from orch.bus import permissions
from orch.config import Duration, EtcdConfig, NatsConfig, TelemetryConfig
from orch.errors import ConfigError, OrchError
from orch_cli import programs
from orch_cli.encryption import encryption_file
from orch_cli.identities import API, CONTROLLERS, SCHEDULER, WITNESS, Identities, issue_identities
from orch_cli.pki import signing_key
from orch_cli.process import Program, Supervised, stop_in_order

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]

_USERS: Final = {API: permissions.API, SCHEDULER: permissions.SCHEDULER, CONTROLLERS: permissions.CONTROLLERS}


class ApiSection(msgspec.Struct, frozen=True, kw_only=True):
    """The API server. Without `client_ca`, the group's own authority vouches for clients.

    Without `service_account_key`, the group makes a key in its state folder: groups that share an etcd must share one.
    So it is with `encryption_provider_config`, by which Secrets are encrypted.
    """

    tls_cert: str
    tls_key: str
    port: Port = 6443
    address: str = "0.0.0.0"  # noqa: S104 - users reach the api from elsewhere
    client_ca: str = ""
    token_file: str = ""
    service_account_key: str = ""
    encryption_provider_config: str = ""


class NatsSection(msgspec.Struct, frozen=True, kw_only=True):
    """The bus. With `servers`, one that is there; `identities` is a folder with each service's NAME.crt, .key, .nkey.

    Without, the group runs its own on `listen`, and issues an identity to each of `nodes`.
    """

    servers: tuple[str, ...] = ()
    ca_file: str = ""
    identities: str = ""
    listen: str = "127.0.0.1:4222"
    nodes: tuple[str, ...] = ()


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """The feature gates."""

    pod_priority: bool = True
    pod_affinity: bool = True
    horizontal_pod_autoscaling: bool = True


class ControllerSection(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. `state_dir` keeps the group's own identities and its bus's streams."""

    api: ApiSection
    etcd: EtcdConfig = EtcdConfig()
    nats: NatsSection = NatsSection()
    telemetry: TelemetryConfig = TelemetryConfig()
    workers: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    resync_period: Duration = 30.0
    leader_election: bool = True
    features: Features = Features()
    state_dir: str = "/var/lib/orch-controller"


class ControllerFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file."""

    controller: ControllerSection


def main(arguments: list[str] | None = None) -> None:
    """Run the group until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="orch-controller", description="api, scheduler and controllers in one.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    file: Path = parser.parse_args(arguments).config
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        section = configuration.load(ControllerFile, service="controller", file=file).controller
        group = programs_of(section)
    except ConfigError as error:
        print(f"orch-controller: {error}", file=sys.stderr)
        sys.exit(2)
    except OrchError as error:
        print(f"orch-controller: {error}", file=sys.stderr)
        sys.exit(1)
    asyncio.run(_run(group, Path(section.state_dir)))


def programs_of(section: ControllerSection) -> list[Program]:
    """Return the group's programs, their configuration written to the state folder."""
    for path, name in ((section.api.tls_cert, "tls_cert"), (section.api.tls_key, "tls_key")):
        if not Path(path).is_file():
            raise ConfigError(f"controller.api.{name}", f"there is no file {path}")
    state = Path(section.state_dir)
    config = state / "config"
    try:
        for folder in (config, state / "run"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError("controller.state_dir", str(error)) from error
    own = None if section.nats.servers else issue_identities(state / "pki", list(section.nats.nodes))
    services = [
        programs.service(API, programs.APIS, config / "api.yaml", api_settings(section, own)),
        programs.service(SCHEDULER, programs.LOOPS, config / "scheduler.yaml", scheduler_settings(section, own)),
        programs.service(CONTROLLERS, programs.LOOPS, config / "controllers.yaml", controllers_settings(section, own)),
    ]
    if own is None:
        return services
    users, pair = own.bus_users(), own.nats_server
    bus = programs.nats(config / "nats.conf", state / "nats", address=section.nats.listen, pair=pair, users=users)
    return [bus, *services]


def api_settings(section: ControllerSection, own: Identities | None) -> dict[str, object]:
    """Return the api's settings."""
    client_ca = section.api.client_ca or (str(own.api_server.authority) if own else "")
    return {
        "address": section.api.address,
        "port": section.api.port,
        "tls_cert_file": section.api.tls_cert,
        "tls_key_file": section.api.tls_key,
        "client_ca_file": client_ca,
        "token_file": section.api.token_file,
        "service_account_key_file": section.api.service_account_key
        or str(signing_key(Path(section.state_dir) / "pki")),
        "encryption_provider_config": section.api.encryption_provider_config
        or str(encryption_file(Path(section.state_dir) / "pki")),
        "audit_log_file": str(Path(section.state_dir) / "audit.log"),
        **_connections(section, own, API),
    }


def scheduler_settings(section: ControllerSection, own: Identities | None) -> dict[str, object]:
    """Return the scheduler's settings."""
    return {
        "leader_election": section.leader_election,
        "pod_priority": section.features.pod_priority,
        "pod_affinity": section.features.pod_affinity,
        **_connections(section, own, SCHEDULER),
    }


def controllers_settings(section: ControllerSection, own: Identities | None) -> dict[str, object]:
    """Return the controllers' settings."""
    return {
        "leader_election": section.leader_election,
        "workers": section.workers,
        "resync_period": section.resync_period,
        "horizontal_pod_autoscaling": section.features.horizontal_pod_autoscaling,
        # Servers that others run may have no system account: then heartbeats alone tell of nodes that are lost.
        **({"witness": own.clients[WITNESS].nats(section.nats.listen)} if own is not None else {}),
        **_connections(section, own, CONTROLLERS),
    }


def _connections(section: ControllerSection, own: Identities | None, name: str) -> dict[str, object]:
    return {"etcd": section.etcd, "nats": _bus(section.nats, own, name), "telemetry": section.telemetry}


def _bus(section: NatsSection, own: Identities | None, name: str) -> NatsConfig:
    if own is not None:
        return own.clients[name].nats(section.listen)
    folder = Path(section.identities)
    return NatsConfig(
        servers=section.servers,
        ca_file=section.ca_file,
        cert_file=str(folder / f"{name}.crt"),
        key_file=str(folder / f"{name}.key"),
        nkey_seed_file=str(folder / f"{name}.nkey"),
        user=_USERS[name],
    )


async def _run(group: list[Program], state: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    supervised = [Supervised(program, logs=None, pids=state / "run") for program in group]
    async with asyncio.TaskGroup() as tasks:
        for each in supervised:
            tasks.create_task(each.run())
        await stop.wait()
        await stop_in_order(supervised)
