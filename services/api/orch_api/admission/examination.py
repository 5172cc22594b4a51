"""One request looked at by expressions: their inputs, made once, and their evaluation within one budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from orch.store.keys import ObjectKey
from orch_api.admission.asking_rights import Deciding, Rights
from orch_api.admission.chain import Request
from orch_api.admission.matching import namespace_of
from orch_api.admission.questions import Shown, admission_request
from orch_api.extensions.expressions.admission import Budget, ExpressionError, Inputs, Program
from orch_api.extensions.expressions.authorizing import Question, authorizer, request_resource
from orch_api.resource import Resource
from orch_api.storage.cache import ObjectCache
from orch_api.storage.objects import to_document
from orch_api.strategy import Document, section


class Examination:
    """The expressions of all webhooks or policies of one kind about one request."""

    def __init__(self, request: Request, shown: Shown, cache: ObjectCache, authority: Deciding) -> None:
        self._request = request
        self._shown = shown
        self._rights = Rights(request.caller, authority)
        self._budget = Budget()
        self._namespace = _namespace_object(request, cache)
        self._asked: dict[tuple[str, str], dict[str, Any]] = {}

    async def inputs(self, target: Resource, params: Document | None = None) -> Inputs:
        """Return what expressions see that ask for a version of the resource. Raises ExpressionError and ApiError."""
        shown, old = await self._shown.objects(target)
        fixed = self._asked.get(target.group_version)
        if fixed is None:
            fixed = self._asked[target.group_version] = {
                "request": admission_request(self._request, target),
                "namespaceObject": self._namespace,
                "authorizer": authorizer(),
                "authorizer.requestResource": request_resource(self._question()),
            }
        return Inputs({"object": _plain(shown), "oldObject": _plain(old), "params": _plain(params), **fixed})

    async def evaluate(self, program: Program, inputs: Inputs) -> Any:
        """Return an expression's result. Raises ExpressionError."""
        self._budget.check()
        if not program.asks:
            return program.evaluate(inputs)
        return await self._rights.evaluate(lambda: program.evaluate(inputs))

    async def meets(self, conditions: Sequence[Program], inputs: Inputs) -> bool:
        """Return whether all conditions hold. One that does not outweighs any failure. Raises ExpressionError."""
        failures: list[str] = []
        for one in conditions:
            try:
                result = await self.evaluate(one, inputs)
            except ExpressionError as error:
                failures.append(str(error))
            else:
                if result is False:
                    return False
                if result is not True:
                    failures.append(f"expression '{one.text}' resulted in error: must evaluate to bool")
        if failures:
            listed = ", ".join(failures)
            raise ExpressionError(failures[0] if len(failures) == 1 else f"[{listed}]")
        return True

    def _question(self) -> Question:
        request = self._request
        return Question(
            group=request.resource.group,
            resource=request.resource.plural,
            subresource=request.subresource,
            namespace=namespace_of(request),
            name=request.name,
        )


def _plain(document: Document | None) -> Document | None:
    """Return a document without bytes that are still to be decoded: the fields that managers own."""
    metadata = section(document or {}, "metadata")
    if document is None or "managedFields" not in metadata:
        return document
    managed = msgspec.json.decode(msgspec.json.encode(metadata["managedFields"]))
    return {**document, "metadata": {**metadata, "managedFields": managed}}


def _namespace_object(request: Request, cache: ObjectCache) -> Document | None:
    """Return the namespace that an object is in, without who owns its fields; None for what is in no namespace."""
    if not request.namespace:
        return None
    item = cache.get(ObjectKey("", "namespaces", "", request.namespace))
    if item is None:
        return None
    document = to_document(item.json)
    metadata = dict(section(document, "metadata"))
    metadata.pop("managedFields", None)
    return {**document, "metadata": metadata}
