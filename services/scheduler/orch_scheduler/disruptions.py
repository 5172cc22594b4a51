"""Who leaves, and how many more pods may be made to: what disruption budgets allow, as far as the scheduler knows."""

from __future__ import annotations

import msgspec

from orch.objects.meta import LabelSelector
from orch.selectors import Selector, from_label_selector
from orch_scheduler.demand import Demand


class Departures:
    """The pods that leave, by uid. Times are seconds since 1970."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def __contains__(self, uid: str) -> bool:
        return uid in self._until

    def set(self, uid: str, until: float | None) -> None:
        """Take note that a pod leaves, None: that it has left, or stays."""
        if until is None:
            self._until.pop(uid, None)
        else:
            self._until[uid] = until

    def leaves(self, uid: str, now: float) -> bool:
        """Return whether a pod is believed to leave."""
        return self._until.get(uid, 0.0) > now


class Allowance(msgspec.Struct, frozen=True):
    """What a budget says. `taken`: disruptions that preemption has caused since its status was last written."""

    number: int
    selector: LabelSelector
    allowed: int
    taken: int = 0


class Budgets:
    """The budgets by namespace. A class of pods is looked up once for as long as no selector changes."""

    def __init__(self) -> None:
        self._spaces: dict[str, dict[str, tuple[int, Selector]]] = {}
        self._allowances: dict[int, Allowance] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._known: dict[Demand, tuple[int, ...]] = {}
        self.generation = 0

    def set(self, namespace: str, name: str, allowance: Allowance | None) -> None:
        """Take over a budget, None when it is gone. Raises ValueError for a selector that cannot be read."""
        selector = from_label_selector(allowance.selector) if allowance is not None else None
        space = self._spaces.setdefault(namespace, {})
        old = space.pop(name, None)
        if old is not None:
            del self._allowances[old[0]]
            del self._names[old[0]]
        if allowance is not None and selector is not None:
            space[name] = (allowance.number, selector)
            self._allowances[allowance.number] = allowance
            self._names[allowance.number] = (namespace, name)
        if not space:
            del self._spaces[namespace]
        self._known.clear()
        self.generation += 1

    def of(self, demand: Demand) -> tuple[int, ...]:
        """Return the numbers of the budgets that select such pods."""
        space = self._spaces.get(demand.namespace)
        if not space or not demand.labels:
            return ()
        found = self._known.get(demand)
        if found is None:
            found = tuple(number for number, selector in space.values() if selector.matches(demand.labels))
            self._known[demand] = found
        return found

    def allowed(self, number: int) -> int:
        """Return how many more disruptions a budget allows."""
        allowance = self._allowances[number]
        return allowance.allowed - allowance.taken

    def take(self, demand: Demand) -> None:
        """Take note that such a pod is made to go."""
        for number in self.of(demand):
            self.count(number, self._allowances[number].taken + 1)

    def give_back(self, demand: Demand) -> None:
        """Take note that such a pod stays after all."""
        for number in self.of(demand):
            self.count(number, max(0, self._allowances[number].taken - 1))

    def count(self, number: int, taken: int) -> Allowance:
        """Take note of how many disruptions of a budget preemption has caused; return what the budget says now."""
        allowance = self._allowances[number] = msgspec.structs.replace(self._allowances[number], taken=taken)
        return allowance

    def name_of(self, number: int) -> tuple[str, str]:
        """Return the namespace and name of a budget."""
        return self._names[number]
