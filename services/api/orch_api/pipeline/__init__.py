"""The one path of every write: authorize, decode, patch, admit, default, validate, commit."""

from orch_api.pipeline.front import Pipeline
from orch_api.pipeline.parts import Outcome, Parts, WriteOptions

__all__ = ["Outcome", "Parts", "Pipeline", "WriteOptions"]
