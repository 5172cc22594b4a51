"""What a write to a status leaves of the metadata, for kinds whose status carries no metadata with it."""

from __future__ import annotations

from typing import Final

from orch_api.strategy import Document, Strategy, keep

_KEPT: Final = ("deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences")


def keep_metadata(obj: Document, old: Document) -> None:
    """Give a document the metadata of the old one, except for what identifies it (metav1.ResetObjectMetaForStatus)."""
    keep(obj["metadata"], old["metadata"], *_KEPT)


class BareStatusStrategy(Strategy):
    """A strategy whose status writes change nothing but the status, not even labels."""

    has_status = True

    def prepare_status(self, obj: Document, old: Document) -> None:
        """Keep everything but the status."""
        super().prepare_status(obj, old)
        keep_metadata(obj, old)
