"""How commands that ask show what they learned: as text to read, or as JSON or YAML to go on with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec
import yaml

Output = Literal["text", "json", "yaml"]

TIMEOUT: Final = 10.0


class Answer(Protocol):
    """What was learned: a msgspec Struct that can say itself in words."""

    def text(self) -> str:
        """Return it for a person to read."""
        ...


def show(answer: Answer, output: Output) -> None:
    """Print an answer."""
    if output == "text":
        print(answer.text())
    elif output == "json":
        print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        print(yaml.safe_dump(msgspec.to_builtins(answer), sort_keys=False), end="")


def add_output(command: argparse.ArgumentParser) -> None:
    """Let a command's user choose how the answer looks and how long to wait for it."""
    command.add_argument("-o", "--output", choices=("text", "json", "yaml"), default="text", help="default: text")
    command.add_argument(
        "--timeout", type=_seconds, default=TIMEOUT, metavar="SECONDS", help="how long to wait (default: %(default)g)"
    )


def add_namespace(command: argparse.ArgumentParser) -> None:
    """Let a command's user name a namespace."""
    command.add_argument(
        "-n", "--namespace", type=object_name, default="default", metavar="NS", help="the namespace (default: default)"
    )


def object_name(text: str) -> str:
    """Return an object's name as it was given: an empty one would ask for all of them."""
    if not text:
        raise argparse.ArgumentTypeError("a name is needed")
    return text


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], indent: str = "") -> list[str]:
    """Return lines whose columns are aligned: numbers to the right, text to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headers))]
    widths = [
        max(len(header), *(len(row[i]) for row in cells)) if cells else len(header) for i, header in enumerate(headers)
    ]
    lines = [_line(headers, widths, numeric, indent)]
    return [*lines, *(_line(row, widths, numeric, indent) for row in cells)]


def fields(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each pair whose value is not empty, names aligned; further lines of a value are indented."""
    width = max((len(name) for name, value in pairs if value), default=0) + 2
    lines: list[str] = []
    for name, value in pairs:
        for number, line in enumerate(value.splitlines()):
            lines.append(f"{'' if number else name:<{width}}{line}")
    return lines


def some(names: Sequence[str], total: int) -> str:
    """Return "a, b, c and 4 more"."""
    listed = ", ".join(names)
    more = total - len(names)
    if more <= 0:
        return listed
    return f"{listed} and {more} more" if names else str(total)


def duration(seconds: float) -> str:
    """Return a time as people read it: "350 ms", "4.2 s", "3m 5s", "2h 10m"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1_000_000:.0f} µs"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool], indent: str) -> str:
    placed = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return f"{indent}{'  '.join(placed)}".rstrip()


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 seconds")
    return seconds
