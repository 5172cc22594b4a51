"""The Kubernetes 1.37 schema: typed decoding, field validation and merge rules of every kind."""

from orch_api.schema.definitions import Definition, MergeRule, Validation
from orch_api.schema.explain import FieldIssue
from orch_api.schema.kinds import KindSchema, Schemas

__all__ = ["Definition", "FieldIssue", "KindSchema", "MergeRule", "Schemas", "Validation"]
