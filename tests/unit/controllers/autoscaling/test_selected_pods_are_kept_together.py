"""Whatever comes in whatever order, an autoscaler's pods are those that its selector matches now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orch.clock import ManualClock
from orch.objects.meta import ObjectMeta
from orch.objects.pods import Pod, PodSpec
from orch.runtime.informer import Change, Item
from orch.runtime.reconcile import Key
from orch.selectors import Selector, parse_label_selector
from orch_controllers.autoscaling.selections import Selections
from orch_controllers.autoscaling.usage import UsageTable

SELECTORS = ["app=a", "app=b", "app in (a,b)", "tier=x", "app=a,tier!=x"]


class Pods:
    """Stands in for the informer of pods."""

    def __init__(self) -> None:
        self.held: dict[str, Item[Pod]] = {}
        self.tell: Callable[[Change[Pod]], None] = lambda _: None

    def of(self, kind: Any) -> Pods:
        return self

    def get(self, namespace: str, name: str) -> Item[Pod] | None:
        return self.held.get(name)

    def items(self, namespace: str) -> list[Item[Pod]]:
        return list(self.held.values())

    def on_change(self, handler: Callable[[Change[Pod]], None]) -> None:
        self.tell = handler

    def put(self, name: str, uid: str, labels: dict[str, str], node: str) -> None:
        pod = Pod(metadata=ObjectMeta(name=name, uid=uid, labels=labels), spec=PodSpec(node_name=node))
        old, new = self.held.get(name), Item("n", name, uid, 1, labels, None, b"", pod)
        if old is not None and old.uid != uid:
            self.drop(name)
            old = None
        self.held[name] = new
        self.tell(Change(old, new))

    def drop(self, name: str) -> None:
        old = self.held.pop(name, None)
        if old is not None:
            self.tell(Change(old, None))


names = st.sampled_from(["p1", "p2", "p3"])
keys = st.sampled_from(["h1", "h2", "h3"])
labels = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b", "x"]), max_size=2)
actions = st.one_of(
    st.tuples(st.just("put"), names, st.sampled_from(["1", "2"]), labels, st.sampled_from(["", "node"])),
    st.tuples(st.just("drop"), names),
    st.tuples(st.just("select"), keys, st.sampled_from(SELECTORS)),
    st.tuples(st.just("forget"), keys),
)


@given(st.lists(actions, max_size=40))
def test_selections_are_what_the_selectors_match(actions: list[Any]) -> None:
    pods = Pods()
    usage = UsageTable(None, ManualClock())  # pyright: ignore[reportArgumentType] - nothing is followed here
    selections = Selections(pods, usage)  # pyright: ignore[reportArgumentType]
    known: dict[Key, Selector] = {}
    for what, name, *rest in actions:
        match what:
            case "put":
                pods.put(name, f"{name}-{rest[0]}", rest[1], rest[2])
            case "drop":
                pods.drop(name)
            case "select":
                key = Key("n", name)
                known[key] = parse_label_selector(rest[0])
                selections.put(key, known[key])
            case _:
                known.pop(Key("n", name), None)
                selections.drop(Key("n", name))
        measured: set[str] = set()
        for key, selector in known.items():
            matching = {each.name for each in pods.held.values() if selector.matches(each.labels)}
            assert [item.name for item in selections.pods(key)] == sorted(matching)
            others = {
                other for other, its in known.items() if any(its.matches(pods.held[pod].labels) for pod in matching)
            }
            assert selections.sharing(key) == sorted(others)
            measured |= {pods.held[pod].uid for pod in matching if pods.held[pod].object.spec.node_name}
        assert measured <= usage._pods.keys()
        assert usage._pods.keys() <= {item.uid for item in pods.held.values()}
        if not known:
            assert not usage._pods
