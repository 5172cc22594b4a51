"""What others write between two writes of a controller's own is looked at again."""

from __future__ import annotations

from typing import Any

from orch.clock import ManualClock
from orch.runtime.reconcile import Key
from orch_controllers.pacing import Pacing

KEY = Key("default", "web")


class Seen:
    revision = 0


def test_only_versions_that_were_written_here_are_no_news() -> None:
    informer: Any = Seen()
    pacing = Pacing(informer, ManualClock())
    pacing.wrote(KEY, "10")
    pacing.wrote(KEY, "12")
    assert [pacing.is_own(KEY, version) for version in (10, 11, 12, 13)] == [True, False, True, False]


def test_versions_that_were_shown_are_forgotten() -> None:
    informer: Any = Seen()
    pacing = Pacing(informer, ManualClock())
    pacing.wrote(KEY, "10")
    informer.revision = 10
    pacing.wrote(KEY, "12")
    assert not pacing.is_own(KEY, 10)
    assert pacing.wait(KEY) > 0, "its own write has not come back"
