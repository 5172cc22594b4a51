"""`orch`: a local cluster, up and down, and what its services can say of it."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TextIO, cast, get_args

from orch.errors import OrchError
from orch_cli.certs import add_certs, certs
from orch_cli.commands import down, enter, status
from orch_cli.encryption import add_secrets, secrets
from orch_cli.etcd_users import add_etcd_users, etcd_users
from orch_cli.explain import add_explain, explain
from orch_cli.keeper import keep
from orch_cli.keys import add_keys, keys
from orch_cli.layout import Layout
from orch_cli.logs import add_logs, logs
from orch_cli.prepare import Plan, prepare
from orch_cli.rebalance import add_rebalance, rebalance
from orch_cli.recommend import add_recommend, recommend
from orch_cli.replay import add_replay, replay
from orch_cli.replay_autoscaling import replay_autoscaling
from orch_cli.state import Runtime, Wishes
from orch_cli.tap import events, nats_arguments
from orch_cli.terminal import PlainText
from orch_cli.tokens import add_tokens, tokens
from orch_cli.up import up, up_detached
from orch_cli.what_if import add_what_if, what_if
from orch_cli.why_not import add_why_not, why_not


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    began = time.monotonic()
    parsed = _parser().parse_args(arguments)
    layout = Layout(parsed.state.resolve())
    try:
        with _printing(parsed.command):
            code = _run(parsed, layout, began)
    except OrchError as error:
        print(f"orch: {error}", file=PlainText(sys.stderr))
        code = 1
    except PermissionError as error:
        print(f"orch: {error}; what was started with sudo needs it again", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _printing(command: str) -> contextlib.AbstractContextManager[object]:
    """Keep what is not printable from the terminal, except what a container has written itself."""
    if command in _AS_IT_IS:
        return contextlib.nullcontext()
    return contextlib.redirect_stdout(cast("TextIO", PlainText(sys.stdout)))


_AS_IT_IS: Final = frozenset({"logs", "enter"})


def _run(parsed: argparse.Namespace, layout: Layout, began: float) -> int:
    commands: Mapping[str, Callable[[], int]] = {
        "up": lambda: _up(parsed, layout, began),
        "down": lambda: down(layout, purge=parsed.purge),
        "status": lambda: status(layout),
        "events": lambda: events(layout, known=parsed.known),
        "nats": lambda: nats_arguments(layout),
        "prepare": lambda: _prepare(parsed, layout),
        "enter": lambda: enter(layout, parsed.node, parsed.argv),
        "keys": lambda: keys(parsed, layout),
        "secrets": lambda: secrets(parsed, layout),
        "token": lambda: tokens(parsed, layout),
        "certs": lambda: certs(parsed, layout),
        "etcd-users": lambda: etcd_users(parsed),
        "logs": lambda: logs(parsed, layout),
        "explain": lambda: explain(parsed, layout),
        "rebalance": lambda: rebalance(parsed, layout),
        "why-not": lambda: why_not(parsed, layout),
        "what-if": lambda: what_if(parsed, layout),
        "replay": lambda: (replay_autoscaling if parsed.what == "autoscaling" else replay)(parsed, layout),
        "recommend": lambda: recommend(parsed, layout),
    }
    return commands[parsed.command]()


def _up(parsed: argparse.Namespace, layout: Layout, began: float) -> int:
    wishes = Wishes(**{name: getattr(parsed, name) for name in Wishes.__struct_fields__})
    start = up_detached if parsed.detach else up
    return start(layout, wishes, began=began)


def _prepare(parsed: argparse.Namespace, layout: Layout) -> int:
    plan = Plan(nodes=parsed.nodes, runtime=parsed.runtime, server=parsed.server, mirror=parsed.mirror)
    return (keep if parsed.keep else prepare)(layout, plan)


_WITH_ARGUMENTS: Final = (
    ("keys", "list and rotate the keys that service accounts' tokens are signed with", add_keys),
    ("secrets", "say with which keys Secrets are encrypted in etcd, and rotate them", add_secrets),
    ("token", "make, list and delete the tokens with which nodes join", add_tokens),
    ("certs", "show the certificates of a cluster, and make them anew", add_certs),
    ("etcd-users", "give etcd a user for each service, and have it serve nobody else", add_etcd_users),
    ("logs", "print what containers wrote, also of pods and nodes that are gone", add_logs),
    ("explain", "say why something is as it is", add_explain),
    ("why-not", "say why a pod is not on a node", add_why_not),
    ("what-if", "say where pods would go and how many would fit; nothing is changed", add_what_if),
    ("rebalance", "move pods so that fewer nodes are used, or all alike", add_rebalance),
    ("replay", "compute recorded decisions again and compare them byte for byte", add_replay),
    ("recommend", "say what containers should request, judged by what they used", add_recommend),
)
"""Commands of modules of their own: each with what it does, and what adds its arguments."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="orch", description="A local orch cluster.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("up", help="start a cluster, or resume the one in DIR")
    _add_state(command)
    command.add_argument("--port", type=_port, help="the API's port on 127.0.0.1 (default: 6443)")
    command.add_argument("--nodes", type=_positive, metavar="N", help="how many nodes (default: 2)")
    command.add_argument("--runtime", choices=get_args(Runtime), help="what nodes run pods with (default: podman)")
    command.add_argument(
        "--mirror", type=_folder, metavar="FOLDER", help="serve docker.io's images from this registry's storage folder"
    )
    command.add_argument("--otlp", metavar="URL", help="where services send their spans, such as http://127.0.0.1:4318")
    command.add_argument("--detach", action="store_true", help="return when the cluster is ready, and leave it running")

    command = commands.add_parser("down", help="stop a cluster; what it stored stays in DIR")
    _add_state(command)
    command.add_argument("--purge", action="store_true", help="delete DIR as well")

    command = commands.add_parser("status", help="say how a cluster's processes fare")
    _add_state(command)

    command = commands.add_parser("events", help="print every change of the cluster as it passes on the bus")
    _add_state(command)
    command.add_argument("--known", action="store_true", help="print first what there is already")

    command = commands.add_parser("nats", help="print the arguments with which the NATS CLI reaches the bus")
    _add_state(command)

    command = commands.add_parser("prepare", help="write what a cluster of containers needs; see deploy/compose")
    _add_state(command)
    command.add_argument("--nodes", type=_positive, default=2, metavar="N", help="how many nodes (default: 2)")
    command.add_argument(
        "--runtime", choices=get_args(Runtime), default="podman", help="what nodes run pods with (default: podman)"
    )
    command.add_argument(
        "--server",
        default="https://127.0.0.1:6443",
        metavar="URL",
        help="where users reach the API (default: %(default)s)",
    )
    command.add_argument(
        "--mirror", default="", metavar="HOST:PORT", help="a registry, spoken to over HTTP, to ask instead of docker.io"
    )

    command.add_argument(
        "--keep", action="store_true", help="go on: make certificates anew before they end, and have NATS read them"
    )

    command = commands.add_parser("enter", help="run a command in a node's network")
    _add_state(command)
    command.add_argument("node", help="the node's name, such as node-1")
    command.add_argument("argv", nargs="*", metavar="ARGUMENT", help="the command, after -- (default: a shell)")

    for name, summary, add_arguments in _WITH_ARGUMENTS:
        command = commands.add_parser(name, help=summary)
        _add_state(command)
        add_arguments(command)
    return parser


def _add_state(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--state", type=Path, default=Path(".orch"), metavar="DIR", help="where the cluster lies (default: .orch)"
    )


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port: it must be between 1 and 65535")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one node is needed")
    return number


def _folder(text: str) -> Path:
    folder = Path(text).resolve()
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return folder


if __name__ == "__main__":
    main()
