"""DenyServiceExternalIPs: nobody draws the traffic for an address to his service by claiming it. Off by default."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.strategy import section

_DENIED: Final = "Use of external IPs is denied by admission control"


class DenyServiceExternalIPs(Plugin):
    """Refuses services external addresses that they did not have before."""

    name: ClassVar = "DenyServiceExternalIPs"
    validates: ClassVar = (Rule((CREATE, UPDATE), ("services",)),)

    async def validate(self, request: Request) -> None:
        """Compare the addresses. Raises ForbiddenError."""
        if not _addresses(request.document) <= _addresses(request.old):
            raise refused(request, _DENIED)


def _addresses(service: dict[str, Any] | None) -> set[str]:
    return set(section(service or {}, "spec").get("externalIPs") or ())
