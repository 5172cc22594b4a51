"""How plugins refuse: with the words of k8s.io/apiserver's admission package."""

from __future__ import annotations

from orch.errors import ForbiddenError
from orch_api.admission.chain import Request
from orch_api.strategy import section


def refused(request: Request, problem: str) -> ForbiddenError:
    """Return the refusal of a request; an object without a name is called by the prefix of the name to be."""
    resource = request.resource
    name = request.name
    if not name:
        metadata = section(request.document or {}, "metadata")
        name = metadata.get("name") or metadata.get("generateName") or "Unknown"
    return ForbiddenError.of(resource.plural, resource.group, name, problem)
