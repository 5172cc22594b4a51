"""Claims, volumes and what nodes can attach, as the rules about volumes need them."""

from __future__ import annotations


class Storage:
    """The cluster's storage."""
