"""A node's volumes in a folder of the test's."""

from __future__ import annotations

from pathlib import Path

import pytest
from volume_node import VolumeNode


@pytest.fixture
def node(tmp_path: Path) -> VolumeNode:
    return VolumeNode(tmp_path / "volumes")
