"""The subjects of JetStream's own API that orch uses, so that permissions and requests cannot drift apart."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "$JS.API"
ALL: Final = "$JS.API.>"
ACCOUNT_INFO: Final = "$JS.API.INFO"
STREAM_NAMES: Final = "$JS.API.STREAM.NAMES"


def stream_request(verb: str, stream: str) -> str:
    """Return $JS.API.STREAM.<verb>.<stream>, `verb` being CREATE, UPDATE, INFO, DELETE, PURGE or MSG.GET."""
    return f"$JS.API.STREAM.{verb}.{stream}"


def create_consumer(stream: str, consumer: str, filter_subject: str = "") -> str:
    """Return $JS.API.CONSUMER.CREATE.<stream>.<consumer>[.<filter>].

    The server refuses a consumer whose only filter is not the one in the subject, so a permission for this subject
    with a filter is a permission to read what the filter matches and nothing else.
    """
    base = f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}"
    return f"{base}.{filter_subject}" if filter_subject else base


def next_messages(stream: str, consumer: str) -> str:
    """Return $JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>, which asks a pull consumer for messages."""
    return f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"


def acknowledgements(stream: str, consumer: str = "*") -> str:
    """Return $JS.ACK.<stream>.<consumer>.>, on which deliveries of a work queue are settled."""
    return f"$JS.ACK.{stream}.{consumer}.>"


def flow_control(stream: str) -> str:
    """Return $JS.FC.<stream>.>, on which a follower says that it has kept up."""
    return f"$JS.FC.{stream}.>"
