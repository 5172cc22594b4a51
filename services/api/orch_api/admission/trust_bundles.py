"""ClusterTrustBundleAttest: whom a signer's bundle tells to trust, only those say who may attest for the signer."""

from __future__ import annotations

from typing import ClassVar

from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.admission.rights import may_for_signer
from orch_api.auth.authorizer import Authorizer
from orch_api.strategy import section


class ClusterTrustBundleAttest(Plugin):
    """Refuses signers' bundles by those who may not attest for them."""

    name: ClassVar = "ClusterTrustBundleAttest"
    validates: ClassVar = (Rule((CREATE, UPDATE), ("clustertrustbundles.certificates.k8s.io",)),)

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, request: Request) -> None:
        """Ask for the right, unless the bundle stays as it is or is nobody's. Raises ForbiddenError."""
        spec = section(request.document or {}, "spec")
        signer: str = spec.get("signerName") or ""
        if not signer or (request.old is not None and spec == section(request.old, "spec")):
            return
        if not await may_for_signer(self._authorizer, request.caller, "attest", signer):
            raise refused(request, f'user not permitted to attest for signerName "{signer}"')
