"""Charges quotas for what is about to be stored: never more than they allow, however many writes are under way.

The use is raised by compare-and-swap on the quota's status before the object is stored. Writes of one namespace that
come at the same time are charged together, with one write for each quota. What is given back, the quota's controller
finds out; a write that fails after it was charged is forgotten after a while (orch.quotas.pending).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from weakref import WeakValueDictionary

import msgspec
from prometheus_client import Counter

from orch.clock import Clock
from orch.errors import ConflictError, NotFoundError
from orch.quantity import parse
from orch.quotas import pending
from orch.quotas.amounts import ZERO, Amounts, plus
from orch.store.keys import ObjectKey
from orch_api.registry import Resource
from orch_api.storage.commit import Committer, Verdict
from orch_api.storage.objects import Cached, Encoded, encode, to_document
from orch_api.strategy import Document, put_section, section

RETRIES: Final = Counter("orch_api_quota_retries", "Charges that lost against other writers of the quota all the time")

_ROUNDS: Final = 5
_FIRST_WAIT: Final = 0.02

Count = Callable[[Document, frozenset[str]], Awaitable[Amounts]]
"""Counts what is used of some resources of a quota, which is given as a document."""


class Wish:
    """A write that wants to be charged: what it wants of each quota, and in the end why it was refused."""

    __slots__ = ("after", "count", "decided", "dry_run", "name", "refusal", "resource", "uid", "wanted")

    def __init__(
        self,
        resource: str,
        metadata: Document,
        after: int,
        wanted: Mapping[str, Amounts],
        count: Count,
        *,
        dry_run: bool,
    ) -> None:
        self.resource = resource
        self.name: str = metadata.get("name") or ""
        self.uid: str = metadata.get("uid") or ""
        self.after = after
        self.wanted = wanted
        self.count = count
        self.dry_run = dry_run
        self.decided = False
        self.refusal = ""


class _Line:
    """The writes of one namespace that wait to be charged, and who charges them."""

    __slots__ = ("__weakref__", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting: list[Wish] = []


class _State(msgspec.Struct):
    """What a quota allows and what is used of it, while it is being charged."""

    document: Document
    hard: Amounts
    used: Amounts
    noted: list[pending.Charge]
    charged: bool = False


class Ledger:
    """Charges quotas."""

    def __init__(self, committer: Committer, quotas: Resource, clock: Clock) -> None:
        self._committer = committer
        self._quotas = quotas
        self._clock = clock
        self._lines: WeakValueDictionary[str, _Line] = WeakValueDictionary()

    async def charge(self, namespace: str, wish: Wish) -> str:
        """Charge a write, or return why a quota does not allow it. Raises ApiError when that cannot be told.

        Whoever comes first charges all that have come until then; a write that is given up is taken out.
        """
        line = self._lines.get(namespace)
        if line is None:
            line = self._lines[namespace] = _Line()
        line.waiting.append(wish)
        try:
            async with line.lock:
                if not wish.decided:
                    await self._settle(namespace, list(line.waiting))
        finally:
            if wish in line.waiting:
                line.waiting.remove(wish)
        return wish.refusal

    async def _settle(self, namespace: str, wishes: Sequence[Wish]) -> None:
        """Charge writes, each of all quotas that it needs or of none. Raises ApiError."""
        names = sorted({name for wish in wishes for name in wish.wanted})
        if len(names) > 1:  # none is charged in vain that another quota refuses
            for name in names:
                await self._charge_one(namespace, name, wishes, dry_run=True)
        for name in names:
            await self._charge_one(namespace, name, wishes, dry_run=False)
        for wish in wishes:
            wish.decided = True

    async def _charge_one(self, namespace: str, name: str, wishes: Sequence[Wish], *, dry_run: bool) -> None:
        """Charge one quota, again when others wrote it meanwhile. Raises ApiError."""
        concerned = [wish for wish in wishes if name in wish.wanted and not wish.refusal]
        if not concerned:
            return
        key = ObjectKey(self._quotas.group, self._quotas.plural, namespace, name)

        async def decide(item: Cached) -> Encoded | Verdict:
            state = self._state(item)
            for wish in concerned:
                await self._take(name, state, wish)
            return encode(_written(state)) if state.charged else Verdict.KEEP

        wait = _FIRST_WAIT
        for attempt in range(_ROUNDS):
            try:
                await self._committer.change(self._quotas, key, decide, dry_run=dry_run)
            except NotFoundError:
                return  # a quota that is gone limits nothing
            except ConflictError:
                RETRIES.inc()
                if attempt == _ROUNDS - 1:
                    raise
                await self._clock.sleep(wait)
                wait *= 2
            else:
                return

    def _state(self, item: Cached) -> _State:
        document = to_document(item.json)
        now = self._clock.now()
        noted = pending.read(section(document["metadata"], "annotations"))
        return _State(
            document,
            _amounts(section(document, "spec").get("hard")),
            _amounts(section(document, "status").get("used")),
            [charge for charge in noted if pending.is_awaited(charge, now)],
        )

    async def _take(self, quota: str, state: _State, wish: Wish) -> None:
        """Charge one write in the state, or note why not."""
        wish.refusal = ""
        wanted = {name: amount for name, amount in wish.wanted[quota].items() if name in state.hard}
        if missing := frozenset(wanted.keys() - state.used.keys()):  # the controller has not counted it yet
            counted = await wish.count(state.document, missing)
            state.used |= {name: counted.get(name, ZERO) for name in missing}
        raised = {name: plus(state.used[name], amount) for name, amount in wanted.items()}
        beyond = [name for name, amount in raised.items() if amount.nanos > state.hard[name].nanos]
        if beyond:
            told = (f"{what}: {_shown(of, beyond)}" for what, of in _parts(wanted, state))
            wish.refusal = f"exceeded quota: {quota}, {', '.join(told)}"
        elif wanted and not wish.dry_run:
            state.used |= raised
            state.charged = True
            at = self._clock.now().timestamp()
            used = pending.texts(wanted)
            state.noted.append(pending.Charge(wish.resource, wish.name, wish.uid, wish.after, at, used))


def _parts(wanted: Amounts, state: _State) -> tuple[tuple[str, Amounts], ...]:
    return ("requested", wanted), ("used", state.used), ("limited", state.hard)


def _shown(amounts: Amounts, names: Sequence[str]) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in sorted(names))


def _amounts(texts: Mapping[str, str] | None) -> Amounts:
    return {name: parse(str(text)) for name, text in (texts or {}).items()}


def _written(state: _State) -> Document:
    """Return the quota with what is used of it now, and for whom."""
    document = state.document
    status = put_section(document, "status")
    known = {name: amount for name, amount in state.used.items() if name in state.hard}
    status["hard"] = section(status, "hard") | {name: str(state.hard[name]) for name in known}
    status["used"] = section(status, "used") | pending.texts(known)
    annotations = put_section(document["metadata"], "annotations")
    annotations[pending.ANNOTATION] = pending.write(state.noted[-pending.MOST :])
    return document
