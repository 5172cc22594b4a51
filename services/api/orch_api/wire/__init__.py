"""The Kubernetes API's protobuf: objects, lists and watch events as application/vnd.kubernetes.protobuf."""

from orch_api.wire.envelope import PROTOBUF, STREAM, is_known, json_of, list_of, message_of, watch_event

__all__ = ["PROTOBUF", "STREAM", "is_known", "json_of", "list_of", "message_of", "watch_event"]
