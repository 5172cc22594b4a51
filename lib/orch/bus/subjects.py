"""The bus's subjects and streams, built and parsed here only.

A token that holds `.`, `*`, `>`, `%` or white space is percent-escaped; an empty one is written `-` (and "-" itself is
escaped). The core group is written `core`.
"""

from __future__ import annotations

import re
from typing import Final

from orch.bus.protocol import StreamSpec

_ESCAPED: Final = re.compile(r"[.*>%\s]")
_MIB: Final = 1 << 20

OBJECTS: Final = StreamSpec(
    name="OBJECTS", subjects=("orch.objects.>",), max_per_subject=1, duplicate_window=10, message_ttl=True
)
"""The newest state of each object. Written by the relay alone."""

HISTORY: Final = "HISTORY"
"""A bounded history of OBJECTS, for replay: see orch_api.storage.relay."""

NODES: Final = StreamSpec(
    name="NODES", subjects=("orch.nodes.*.pods.>",), max_per_subject=1, duplicate_window=10, message_ttl=True
)
"""The pods of each node. Written by the relay alone."""

REPORTS: Final = StreamSpec(
    name="REPORTS", subjects=("orch.reports.>",), retention="workqueue", max_per_subject=0, max_bytes=256 * _MIB
)
"""What nodes report, until the api has taken it."""

HEARTBEATS: Final = StreamSpec(
    name="HEARTBEATS", subjects=("orch.nodes.*.heartbeat",), storage="memory", max_per_subject=1, max_age=600
)

METRICS: Final = StreamSpec(
    name="METRICS", subjects=("orch.metrics.*",), storage="memory", max_per_subject=1, max_age=600
)
"""What each node and its pods use, every second while that changes. The newest of each is all that is kept: with three,
the server looks for the second through all messages of all nodes each time it drops the first."""

DECISIONS: Final = StreamSpec(
    name="DECISIONS", subjects=("orch.decisions.>",), max_per_subject=5, max_age=3600, max_bytes=128 * _MIB
)

JOURNAL: Final = StreamSpec(name="JOURNAL", subjects=("orch.journal.>",), max_age=3600, max_bytes=512 * _MIB)
"""What the scheduler decided on, so that its decisions can be computed again."""

RECOMMENDATIONS: Final = StreamSpec(
    name="RECOMMENDATIONS",
    subjects=("orch.recommendations.>",),
    max_per_subject=1,
    max_age=8 * 86_400,
    max_bytes=64 * _MIB,
)
"""What is known of each workload's use, so that it outlives the process that learned it."""

LOGS: Final = StreamSpec(
    name="LOGS", subjects=("orch.logs.>",), max_age=86_400, max_bytes=256 * _MIB, max_messages=262_144
)
"""What containers wrote, for when their nodes cannot be asked any more. Each piece has a subject of its own."""

AUDIT: Final = StreamSpec(name="AUDIT", subjects=("orch.audit.>",), max_age=86_400, max_bytes=256 * _MIB)
"""What the api records of requests; made only when it is told to."""

STREAMS: Final = (OBJECTS, NODES, REPORTS, HEARTBEATS, METRICS, DECISIONS, JOURNAL, RECOMMENDATIONS, LOGS)

API_SERVICE: Final = "orch-api"
"""The api's NATS micro service."""

SCHEDULER_SERVICE: Final = "orch-scheduler"
"""The schedulers' NATS micro service."""


def _escape_character(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


def escape(token: str) -> str:
    """Return `token` as one subject token."""
    if not token:
        return "-"
    if token == "-":
        return "%2D"
    return _ESCAPED.sub(_escape_character, token) if _ESCAPED.search(token) else token


def unescape(token: str) -> str:
    """Return what `escape` was given."""
    if token == "-":
        return ""
    if "%" not in token:
        return token
    return re.sub(r"(?:%[0-9A-F]{2})+", lambda m: bytes.fromhex(m.group().replace("%", "")).decode(), token)


def object_subject(group: str, resource: str, namespace: str, name: str) -> str:
    """Return orch.objects.<group>.<resource>.<namespace>.<name>."""
    return f"orch.objects.{escape(group or 'core')}.{resource}.{escape(namespace)}.{escape(name)}"


def objects_of(group: str, resource: str) -> str:
    """Return the filter orch.objects.<group>.<resource>.> for all of a resource."""
    return f"orch.objects.{escape(group or 'core')}.{resource}.>"


def objects_progress(group: str, resource: str) -> str:
    """Return orch.objects.<group>.<resource>.~, below objects_of: how far the relay has come ("~" is no name)."""
    return f"orch.objects.{escape(group or 'core')}.{resource}.~"


def node_pods_progress(node: str) -> str:
    """Return orch.nodes.<node>.pods.~, below node_pods: the relay has sent all of the node's pods."""
    return f"orch.nodes.{escape(node)}.pods.~"


def node_pod_subject(node: str, namespace: str, name: str) -> str:
    """Return orch.nodes.<node>.pods.<namespace>.<name>."""
    return f"orch.nodes.{escape(node)}.pods.{escape(namespace)}.{escape(name)}"


def node_pods(node: str) -> str:
    """Return the filter orch.nodes.<node>.pods.>."""
    return f"orch.nodes.{escape(node)}.pods.>"


def report_subject(node: str, what: str) -> str:
    """Return orch.reports.<node>.<what>, `what` being "pods" or "node"."""
    return f"orch.reports.{escape(node)}.{what}"


def parse_report(subject: str) -> tuple[str, str]:
    """Return (node, what) of a report's subject."""
    _, _, node, what = subject.split(".")
    return unescape(node), what


def heartbeat_subject(node: str) -> str:
    """Return orch.nodes.<node>.heartbeat."""
    return f"orch.nodes.{escape(node)}.heartbeat"


def parse_heartbeat(subject: str) -> str:
    """Return the node of a heartbeat's subject."""
    return unescape(subject.split(".")[2])


HEARTBEATS_OF_ALL: Final = "orch.nodes.*.heartbeat"


DISCONNECTS: Final = "$SYS.ACCOUNT.*.DISCONNECT"
"""What the server itself tells, in its system account, of connections that have ended: JSON, as NATS defines it."""


METRICS_OF_ALL: Final = "orch.metrics.*"


def metrics_subject(node: str) -> str:
    """Return orch.metrics.<node>."""
    return f"orch.metrics.{escape(node)}"


PREEMPTOR: Final = "preemptor"
VICTIM: Final = "victim"
"""What the scheduler decides about pods for which it makes room, and about those that have to go for that, are kept
apart from its other decisions, as if of components of these names."""


def decision_subject(component: str, namespace: str, name: str) -> str:
    """Return orch.decisions.<component>.<namespace>.<name>."""
    return f"orch.decisions.{component}.{escape(namespace)}.{escape(name)}"


def decisions_of(component: str) -> str:
    """Return the filter orch.decisions.<component>.> for all that a component decides."""
    return f"orch.decisions.{component}.>"


def journal_subject(component: str, term: int, number: int) -> str:
    """Return orch.journal.<component>.<term>.<number>: one chunk of what a leader's term was told and decided."""
    return f"orch.journal.{component}.{term}.{number}"


def journal_of(component: str) -> str:
    """Return the filter orch.journal.<component>.> for all of a component's journal."""
    return f"orch.journal.{component}.>"


def scheduler_question(scheduler: str, verb: str) -> str:
    """Return orch.services.orch-scheduler.<scheduler>.<verb>: a question to the scheduler of that name."""
    return f"orch.services.{SCHEDULER_SERVICE}.{escape(scheduler)}.{verb}"


def recommendation_subject(namespace: str, kind: str, name: str) -> str:
    """Return orch.recommendations.<namespace>.<kind>.<name>: what a workload's containers should request."""
    return f"orch.recommendations.{escape(namespace)}.{escape(kind)}.{escape(name)}"


def recommendations_in(namespace: str) -> str:
    """Return the filter orch.recommendations.<namespace>.> for all workloads of a namespace."""
    return f"orch.recommendations.{escape(namespace)}.>"


RECOMMENDATIONS_OF_ALL: Final = "orch.recommendations.>"


def audit_subject(verb: str, group: str, resource: str, namespace: str) -> str:
    """Return orch.audit.<verb>.<group>.<resource>.<namespace>; without a resource orch.audit.<verb>.-.-.-."""
    where = f"{escape(group or 'core')}.{escape(resource)}" if resource else "-.-"
    return f"orch.audit.{escape(verb)}.{where}.{escape(namespace)}"


def log_subject(node: str, namespace: str, pod: str, uid: str, container: str, attempt: int, piece: str) -> str:
    """Return orch.logs.<node>.<namespace>.<pod>.<uid>.<container>.<attempt>.<piece>: a part of what was written."""
    return f"{_logs_of_pod(node, namespace, pod, uid)}.{escape(container)}.{attempt}.{escape(piece)}"


def parse_log(subject: str) -> tuple[str, str, str, str, str, int]:
    """Return (node, namespace, pod, uid, container, attempt) of a log's subject."""
    _, _, node, namespace, pod, uid, container, attempt, _ = subject.split(".")
    return unescape(node), unescape(namespace), unescape(pod), unescape(uid), unescape(container), int(attempt)


def logs_of_node(node: str) -> str:
    """Return the pattern orch.logs.<node>.> of all that a node's containers write."""
    return f"orch.logs.{escape(node)}.>"


LOGS_OF_ALL: Final = "orch.logs.>"


def logs_of_pods(namespace: str, name: str, container: str = "") -> str:
    """Return the filter orch.logs.*.<namespace>.<name>.*.<container or *>.>: of all pods that had the name."""
    return f"orch.logs.*.{escape(namespace)}.{escape(name)}.*.{escape(container) if container else '*'}.>"


def logs_of_attempt(node: str, namespace: str, pod: str, uid: str, container: str, attempt: int) -> str:
    """Return the filter orch.logs.<node>.<namespace>.<pod>.<uid>.<container>.<attempt>.* for one run."""
    return f"{_logs_of_pod(node, namespace, pod, uid)}.{escape(container)}.{attempt}.*"


def _logs_of_pod(node: str, namespace: str, pod: str, uid: str) -> str:
    return f"orch.logs.{escape(node)}.{escape(namespace)}.{escape(pod)}.{escape(uid)}"


def service_subject(service: str, verb: str) -> str:
    """Return orch.services.<service>.<verb>: a question to a service about itself, such as its health."""
    return f"orch.services.{service}.{verb}"


def rpc_subject(user: str, verb: str) -> str:
    """Return orch.rpc.<user>.<verb>: a request to the api by `user`, who alone may publish there."""
    return f"orch.rpc.{escape(user)}.{verb}"


def rpc_requests(verb: str) -> str:
    """Return orch.rpc.*.<verb>, which the api serves."""
    return f"orch.rpc.*.{verb}"


def parse_rpc(subject: str) -> tuple[str, str]:
    """Return (user, verb) of an rpc subject."""
    _, _, user, verb = subject.split(".")
    return unescape(user), verb


def node_rpc_subject(node: str, verb: str) -> str:
    """Return orch.nodes.<node>.rpc.<verb>: a request to a node."""
    return f"orch.nodes.{escape(node)}.rpc.{verb}"


def node_changes(node: str) -> str:
    """Return orch.nodes.<node>.changes: names of objects that its pods show and that have changed."""
    return f"orch.nodes.{escape(node)}.changes"


NODE_PODS_OF_ALL: Final = "orch.nodes.*.pods.>"
"""The pods of every node: what a process that plays many simulated nodes reads."""


def node_rpc_requests(verb: str) -> str:
    """Return orch.nodes.*.rpc.<verb>, which a process that plays many simulated nodes serves."""
    return f"orch.nodes.*.rpc.{verb}"


def inbox_prefix(user: str) -> str:
    """Return the prefix of the subjects on which `user` alone receives answers: _INBOX.<user>."""
    return f"_INBOX.{escape(user)}"


def stream_inbox(inbox: str, served: str) -> str:
    """Return where the server of `served` sends its frames to the owner of the fresh `inbox`.

    For a node's subject that is _INBOX.<user>.nodes.<node>.<unique>, the part of the inbox that this node may reach;
    for any other, `inbox` itself.
    """
    tokens = served.split(".")
    if tokens[:2] != ["orch", "nodes"] or "rpc" not in tokens[3:4]:
        return inbox
    prefix, unique = inbox.rsplit(".", 1)
    return f"{prefix}.nodes.{tokens[2]}.{unique}"


def stream_inboxes_of(node: str) -> str:
    """Return the pattern _INBOX.*.nodes.<node>.> of all inboxes that take frames of this node."""
    return f"_INBOX.*.nodes.{escape(node)}.>"
