"""What lasts: logs, commands, forwarded ports, proxied requests; a client on one side, a node on the other."""

from orch_api.http.streams.subresources import Streams

__all__ = ["Streams"]
