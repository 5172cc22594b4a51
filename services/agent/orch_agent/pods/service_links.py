"""The variables by which a container finds services: those of its namespace, and always the api's (kubelet's envvars).

Services are followed from the bus, all of them, in one informer a process. Asking the api at each start would cost a
round trip on the way to every container, and nothing could be started while the api is away; and a node may read them,
as kubelets do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from orch.errors import UnavailableError
from orch.objects.networking import HEADLESS, Service
from orch.objects.pods import Pod
from orch.runtime.informer import Informer
from orch_agent.pods.environment import ConfigurationError

_PATIENCE: Final = 5.0
_API: Final = ("default", "kubernetes")


class ServiceLinks:
    """Knows the services of the cluster; without an informer there are none."""

    def __init__(self, informer: Informer[Service] | None) -> None:
        self._informer = informer

    async def variables(self, pod: Pod, *, may_be_unknown: bool = False) -> dict[str, str]:
        """Return the variables for a pod's containers. Raises ConfigurationError while services are not known.

        `may_be_unknown`: it must start without the api, and has then what is known.
        """
        informer = self._informer
        if informer is None:
            return {}
        if not (informer.synced or may_be_unknown):
            try:
                await informer.wait_synced(_PATIENCE)
            except UnavailableError as error:
                raise ConfigurationError(
                    "services have not yet been read at least once, cannot construct envvars"
                ) from error
        services: dict[str, Service] = {}
        api = informer.get(*_API)
        if api is not None:
            services[api.name] = api.object
        if pod.spec.enable_service_links is not False:
            services |= {item.name: item.object for item in informer.items(pod.metadata.namespace)}
        return variables_of(services.values())


def variables_of(services: Iterable[Service]) -> dict[str, str]:
    """Return the variables of services; those without an address of their own have none."""
    found: dict[str, str] = {}
    for service in services:
        if service.spec.cluster_ip not in {"", HEADLESS} and service.spec.ports:
            found.update(_of_one(service))
    return found


def _of_one(service: Service) -> Iterator[tuple[str, str]]:
    prefix, address = _variable(service.metadata.name), service.spec.cluster_ip
    host = f"[{address}]" if ":" in address else address
    ports = service.spec.ports
    yield f"{prefix}_SERVICE_HOST", address
    yield f"{prefix}_SERVICE_PORT", str(ports[0].port)
    for port in ports:
        if port.name:
            yield f"{prefix}_SERVICE_PORT_{_variable(port.name)}", str(port.port)
    for place, port in enumerate(ports):
        protocol = port.protocol or "TCP"
        where = f"{protocol.lower()}://{host}:{port.port}"
        if place == 0:
            yield f"{prefix}_PORT", where
        one = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        yield one, where
        yield f"{one}_PROTO", protocol.lower()
        yield f"{one}_PORT", str(port.port)
        yield f"{one}_ADDR", address


def _variable(name: str) -> str:
    return name.replace("-", "_").upper()
