"""`orch explain KIND NAME`: why something is as it is. Each kind has a module of its own; this finds it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from orch_cli.answers import Answer, add_namespace, add_output, object_name, show
from orch_cli.explain_hpa import explain_hpa
from orch_cli.explain_pod import explain_pod
from orch_cli.layout import Layout
from orch_cli.session import Session, open_session

Explain = Callable[[Session, str, str], Awaitable[Answer]]
"""Explains the object of a namespace and a name. Raises OrchError when it is not known or nobody answers."""

KINDS: Final[Mapping[str, Explain]] = {
    "hpa": explain_hpa,
    "pod": explain_pod,
}
"""What can be explained, by the kind's singular name."""

_ALIASES: Final = {"pods": "pod", "po": "pod", "horizontalpodautoscaler": "hpa", "horizontalpodautoscalers": "hpa"}


def add_explain(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    command.add_argument("kind", type=_kind, choices=sorted(KINDS), metavar="KIND", help=" or ".join(sorted(KINDS)))
    command.add_argument("name", type=object_name, metavar="NAME")
    add_namespace(command)
    add_output(command)


def explain(parsed: argparse.Namespace, layout: Layout) -> int:
    """Print why the object is as it is."""

    async def ask() -> Answer:
        async with open_session(layout, parsed.timeout) as session:
            return await KINDS[parsed.kind](session, parsed.namespace, parsed.name)

    show(asyncio.run(ask()), parsed.output)
    return 0


def _kind(text: str) -> str:
    return _ALIASES.get(text, text)
