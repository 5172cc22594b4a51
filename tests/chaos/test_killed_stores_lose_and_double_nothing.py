"""etcd and NATS are killed with SIGKILL, under load and during a rollout; both come back as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from local_cluster import LocalCluster
from pod_ledger import PodLedger
from rollout import Rollout
from writer import Writer

REPLICAS = 12
Namespace = Callable[[LocalCluster], str]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["etcd", "nats"])
def test_a_rollout_under_load_survives(battered: LocalCluster, namespace: Namespace, store: str) -> None:
    rollout = Rollout(battered, namespace(battered), replicas=REPLICAS, surge=2)
    rollout.start()
    writer = Writer(rollout.rest, rollout.namespace)
    with PodLedger(rollout.rest, rollout.namespace).open() as ledger:
        old = set(ledger.lives)
        with writer.open():
            rollout.update("web:2")
            for progress in (2, REPLICAS // 2):
                ledger.wait(lambda progress=progress: len(ledger.lives.keys() - old) > progress)
                killed = battered.kill(store)
                battered.wait(lambda killed=killed: battered.restarted(store, killed), what=f"{store} is back")
            written = len(writer.stored)
            battered.wait(lambda: len(writer.stored) > written, what="writes go on")
        rollout.finish(ledger, "web:2")
    writer.check()


@pytest.mark.timeout(300)
def test_streams_that_are_lost_are_rebuilt_from_etcd(battered: LocalCluster, namespace: Namespace) -> None:
    """What changed while there was no bus is made good; what did not change is left alone."""
    rollout = Rollout(battered, namespace(battered), replicas=8, surge=2)
    rollout.start()
    pods = f"/api/v1/namespaces/{rollout.namespace}/pods"
    with PodLedger(rollout.rest, rollout.namespace).open() as ledger:
        before = dict(ledger.lives)
        with stopped(battered.report.pid.pid):
            # The supervisor restarts nothing while the streams are removed.
            killed = battered.kill("nats")
            battered.wait(lambda: not killed.alive())
            shutil.rmtree(battered.layout.data / "nats")
            forced = next(iter(before.values())).name
            gone = rollout.rest("DELETE", f"{pods}/{forced}", gracePeriodSeconds=0)
            assert gone.status == 200, gone.body
            rollout.scale(9)
        battered.wait(lambda: battered.restarted("nats", killed), what="nats is back")
        battered.wait(rollout.complete, timeout=120, what="the scaled Deployment is complete")
        ledger.wait(lambda: ledger.ready() == ledger.live() == 9)
        # One pod was replaced and one added; all others are what they were.
        assert len(ledger.lives.keys() - before.keys()) == 2, ledger.summary()
        left = [life for life in before.values() if life.live]
        assert len(left) == 7, ledger.summary()
        assert {life.restarts for life in left} == {0}
        rollout.update("web:2")
        rollout.finish(ledger, "web:2")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
