"""Who owns which field: metadata.managedFields and server-side apply.

What every write changes is noted as owned by its field manager (`track`); an applied configuration is merged with
what others own left alone (`apply`). The rules are structured-merge-diff's and those of apimachinery's managedfields.
"""

from orch_api.fields.apply import apply
from orch_api.fields.managers import Manager, track

__all__ = ["Manager", "apply", "track"]
