"""Who is asked a second time: those that asked for it, when somebody after them changed the object.

Follows webhook/mutating/reinvocationcontext.go. There is one second run at most, in which nobody is asked for the
first time, so that those who change what the other changed cannot keep each other busy.
"""

from __future__ import annotations

from typing import Any

from orch_api.admission.chain import Request
from orch_api.patch.documents import clone


class Reinvocation:
    """What one plugin has to remember of a request between its two runs."""

    def __init__(self) -> None:
        self._willing: set[tuple[str, ...]] = set()
        self._again: set[tuple[str, ...]] = set()
        self._output: Any = None

    @staticmethod
    def of(request: Request, plugin: str) -> Reinvocation:
        """Return what a plugin remembers of a request. In the second run, changes by others since count already."""
        memory = request.notes.memory
        found: Reinvocation | None = memory.get(plugin)
        if found is None:
            found = memory[plugin] = Reinvocation()
        elif request.notes.again and found._output is not None and found._output != request.document:
            found._require()
        return found

    def asked(self, request: Request, key: tuple[str, ...]) -> bool:
        """Return whether somebody is to be asked in this run."""
        return not request.notes.again or key in self._again

    def changed(self, request: Request) -> None:
        """Note that somebody changed the object: those who were asked before are asked again, if they wish it."""
        self._require()
        request.notes.again_wanted = True

    def willing(self, key: tuple[str, ...]) -> None:
        """Note that somebody was asked who wishes to be asked again when that is needed."""
        self._willing.add(key)

    def end(self, request: Request) -> None:
        """Note what the object is at the end of a run."""
        if self._willing and not request.notes.again:
            self._output = clone(request.document)

    def _require(self) -> None:
        self._again |= self._willing
        self._willing = set()
