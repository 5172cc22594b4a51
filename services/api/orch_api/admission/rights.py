"""What plugins ask the authorizer: whether the caller may also do what is behind the request."""

from __future__ import annotations

from orch_api.auth.attributes import Attributes
from orch_api.auth.authorizer import Authorizer
from orch_api.auth.identity import Caller

_CERTIFICATES = "certificates.k8s.io"


async def may(authorizer: Authorizer, caller: Caller, wanted: Attributes) -> tuple[bool, str]:
    """Return whether a caller may do something, and why."""
    verdict = await authorizer.judge(caller, wanted)
    return verdict.allowed, verdict.reason


async def may_for_signer(authorizer: Authorizer, caller: Caller, verb: str, signer: str) -> bool:
    """Return whether a caller may approve, sign or attest for a signer: for this very one, or all of its domain."""
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        wanted = Attributes(verb=verb, group=_CERTIFICATES, resource="signers", name=name)
        if (await may(authorizer, caller, wanted))[0]:
            return True
    return False
