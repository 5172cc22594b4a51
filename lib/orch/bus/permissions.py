"""Which subjects each identity may publish and subscribe to. The bus's server enforces it; see orch.bus.server.

Three rules carry the security of the bus:

- An identity receives answers only under its own `_INBOX.<user>.>`. It may publish there too: a message to itself
  shows that the server has handled what came before.
- A request to the api goes to `orch.rpc.<user>.<verb>`, and only that user may publish there: the api believes the
  subject.
- JetStream is asked through subjects too. A consumer is created on
  `$JS.API.CONSUMER.CREATE.<stream>.<consumer>.<filter>`, and the server refuses a filter that the subject does not
  name; so a node's permission for `$JS.API.CONSUMER.CREATE.NODES.*.orch.nodes.<node>.pods.>` lets it read its own
  pods and nothing else. The wildcard is the consumer's name, which is random. Creating a consumer without a filter in
  the subject (several filters) reads the whole stream, and is left to those who may read all of it.

A node answers requests through `allow_responses`: once for each request that it received. The frames of a stream
(logs, exec) are many, so they go to a part of the caller's inbox that is set aside for this node:
`_INBOX.<caller>.nodes.<node>.>` (subjects.stream_inbox). It can reach no other inbox. Services name instead whose
inboxes they answer to: with `allow_responses` the server remembers every message that it delivers, as each of a
stream's could be answered, for two minutes. At thousands a second that took gigabytes of its memory.

What NATS cannot forbid: whoever may create a consumer may name any subject for its deliveries. A node could have its
own pods' ObjectEvents delivered on a foreign subject, not with content of its choice. orch.bus.rpc therefore takes
no request whose answer does not go to its user's inbox.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from orch.bus import jetstream, subjects
from orch.bus.patterns import matches_any

NODE_PREFIX: Final = "system:node:"
API: Final = "system:apiserver"
SCHEDULER: Final = "system:kube-scheduler"
CONTROLLERS: Final = "system:kube-controller-manager"
FLEET: Final = "system:nodes:simulated"
ADMIN: Final = "orch:admin"
WITNESS: Final = "orch:witness"
"""As whom the controllers hear, in the server's system account, whose connection has ended."""

_SCHEDULER_READS: Final = (
    ("", "nodes"),
    ("", "pods"),
    ("", "namespaces"),
    ("", "services"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("", "replicationcontrollers"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("policy", "poddisruptionbudgets"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("scheduling.x-k8s.io", "podgroups"),
)
"""What Kubernetes' own cluster role system:kube-scheduler reads, and pod groups; no Secret and no ConfigMap."""


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """What one identity may do. `responses`: it may answer the requests that it receives."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responses: bool = False

    def may_publish(self, subject: str) -> bool:
        """Whether a message may be published on `subject`."""
        return matches_any(self.publish, subject)

    def may_subscribe(self, subject: str) -> bool:
        """Whether `subject`, which may hold wildcards, may be subscribed to."""
        return matches_any(self.subscribe, subject)


def permissions_of(user: str) -> Permissions:
    """Return what `user` may do: one of the services' identities, a node's or the administrator's.

    Raises ValueError for anyone else: nobody is on the bus without a role.
    """
    if user.startswith(NODE_PREFIX):
        return node(user.removeprefix(NODE_PREFIX))
    role = {API: api, SCHEDULER: scheduler, CONTROLLERS: controllers, FLEET: fleet, ADMIN: admin, WITNESS: witness}.get(
        user
    )
    if role is None:
        raise ValueError(f"user {user!r} has no role on the bus")
    return role()


def api() -> Permissions:
    """Return the api's: it owns the streams, serves the requests and asks the nodes."""
    return Permissions(
        publish=(
            "orch.>",
            "_INBOX.>",
            jetstream.ALL,
            *(jetstream.flow_control(stream.name) for stream in subjects.STREAMS),
            jetstream.flow_control(subjects.HISTORY),
            jetstream.acknowledgements(subjects.REPORTS.name),
        ),
        subscribe=(
            *_own_inbox(API),
            "orch.rpc.>",
            *_micro_service(subjects.API_SERVICE),
            subjects.service_subject(subjects.API_SERVICE, ">"),
        ),
    )


def scheduler() -> Permissions:
    """Return the scheduler's: it reads what it decides on, and publishes its decisions and their journal."""
    objects = (subjects.objects_of(group, resource) for group, resource in _SCHEDULER_READS)
    allowed = _service(SCHEDULER, subjects.SCHEDULER_SERVICE, "scheduler", reads=objects)
    told = (subjects.decisions_of(subjects.PREEMPTOR), subjects.decisions_of(subjects.VICTIM))
    return msgspec.structs.replace(allowed, publish=(*allowed.publish, *told, subjects.journal_of("scheduler")))


def controllers() -> Permissions:
    """Return the controllers': they read every object and the nodes' heartbeats and usage."""
    allowed = _service(CONTROLLERS, "orch-controllers", "controllers", reads=("orch.objects.>",))
    return msgspec.structs.replace(
        allowed,
        publish=(
            *allowed.publish,
            subjects.decisions_of("autoscaler"),
            subjects.journal_of("autoscaler"),
            subjects.RECOMMENDATIONS_OF_ALL,
            # A new leader goes on from what the one before it decided and learned.
            jetstream.create_consumer(subjects.DECISIONS.name, "*", subjects.decisions_of("autoscaler")),
            jetstream.create_consumer(subjects.RECOMMENDATIONS.name, "*", subjects.RECOMMENDATIONS_OF_ALL),
            jetstream.flow_control(subjects.DECISIONS.name),
            jetstream.flow_control(subjects.RECOMMENDATIONS.name),
            jetstream.create_consumer(subjects.OBJECTS.name, "*"),
            # To tell silent nodes from a bus that was away, they look at the newest heartbeat.
            jetstream.stream_request("INFO", subjects.HEARTBEATS.name),
            jetstream.stream_request("MSG.GET", subjects.HEARTBEATS.name),
            *(
                permitted
                for stream in (subjects.HEARTBEATS.name, subjects.METRICS.name)
                for permitted in (
                    jetstream.create_consumer(stream, "*"),
                    jetstream.create_consumer(stream, "*", ">"),
                    jetstream.flow_control(stream),
                )
            ),
        ),
        subscribe=(*allowed.subscribe, subjects.HEARTBEATS_OF_ALL, subjects.METRICS_OF_ALL),
    )


def node(name: str) -> Permissions:
    """Return one node's: its own pods, what changes of theirs, and all services in; its own reports out."""
    user = f"{NODE_PREFIX}{name}"
    return Permissions(
        publish=(
            *_own_inbox(user),
            subjects.report_subject(name, ">"),
            subjects.heartbeat_subject(name),
            subjects.metrics_subject(name),
            subjects.logs_of_node(name),
            subjects.rpc_subject(user, ">"),
            subjects.stream_inboxes_of(name),
            jetstream.create_consumer(subjects.NODES.name, "*", subjects.node_pods(name)),
            jetstream.flow_control(subjects.NODES.name),
            *_reads_services(),
        ),
        subscribe=(*_own_inbox(user), subjects.node_rpc_subject(name, ">"), subjects.node_changes(name)),
        responses=True,
    )


def fleet() -> Permissions:
    """Return those of the one process that plays all simulated nodes: what each of them may do."""
    return Permissions(
        publish=(
            *_own_inbox(FLEET),
            "orch.reports.>",
            subjects.HEARTBEATS_OF_ALL,
            subjects.METRICS_OF_ALL,
            subjects.LOGS_OF_ALL,
            subjects.rpc_subject(FLEET, ">"),
            "_INBOX.*.nodes.>",
            *_own_inbox(API),
            jetstream.create_consumer(subjects.NODES.name, "*", subjects.NODE_PODS_OF_ALL),
            jetstream.flow_control(subjects.NODES.name),
            *_reads_services(),
        ),
        subscribe=(*_own_inbox(FLEET), subjects.node_rpc_requests(">")),
    )


def admin() -> Permissions:
    """Return the administrator's, for the NATS CLI: see everything, ask every service how it is, change nothing.

    The CLI must be told the inbox: `--inbox-prefix=_INBOX.orch:admin`, or `inbox_prefix` in its context file.
    """
    return Permissions(
        publish=(
            *_own_inbox(ADMIN),
            "$SRV.>",
            # What a scheduler would do and why; answering changes nothing.
            subjects.service_subject(subjects.SCHEDULER_SERVICE, ">"),
            jetstream.ACCOUNT_INFO,
            jetstream.STREAM_NAMES,
            f"{jetstream.PREFIX}.STREAM.LIST",
            f"{jetstream.PREFIX}.STREAM.INFO.>",
            f"{jetstream.PREFIX}.STREAM.MSG.GET.>",
            f"{jetstream.PREFIX}.DIRECT.GET.>",
            f"{jetstream.PREFIX}.CONSUMER.NAMES.>",
            f"{jetstream.PREFIX}.CONSUMER.LIST.>",
            f"{jetstream.PREFIX}.CONSUMER.INFO.>",
            *(
                allowed
                for stream in (
                    *(s.name for s in subjects.STREAMS if s.retention != "workqueue"),
                    subjects.HISTORY,
                    subjects.AUDIT.name,
                )
                for allowed in _reader(stream)
            ),
        ),
        subscribe=("orch.>", *_own_inbox(ADMIN), "$JS.EVENT.>", "$SRV.>"),
    )


def witness() -> Permissions:
    """Return those of the one user of the system account: it hears of connections that end, and may say nothing."""
    return Permissions(publish=_own_inbox(WITNESS), subscribe=(subjects.DISCONNECTS, *_own_inbox(WITNESS)))


def _reads_services() -> tuple[str, ...]:
    """Return what following the services takes: containers are told their addresses, and what makes them work is."""
    return (
        jetstream.create_consumer(subjects.OBJECTS.name, "*", subjects.objects_of("", "services")),
        jetstream.flow_control(subjects.OBJECTS.name),
    )


def _reader(stream: str) -> tuple[str, ...]:
    """Return what reading a stream takes, for a client that may pull and that forgets no consumer behind it."""
    return (
        jetstream.create_consumer(stream, "*"),
        jetstream.create_consumer(stream, "*", ">"),
        f"{jetstream.PREFIX}.CONSUMER.CREATE.{stream}",
        jetstream.next_messages(stream, "*"),
        jetstream.flow_control(stream),
        jetstream.acknowledgements(stream),
    )


def _own_inbox(user: str) -> tuple[str, ...]:
    return (f"{subjects.inbox_prefix(user)}.>",)


def _micro_service(service: str) -> tuple[str, ...]:
    """Return the subjects on which a NATS micro service is discovered."""
    return tuple(
        pattern
        for verb in ("PING", "INFO", "STATS")
        for pattern in (f"$SRV.{verb}", f"$SRV.{verb}.{service}", f"$SRV.{verb}.{service}.*")
    )


def _service(user: str, service: str, component: str, *, reads: Iterable[str]) -> Permissions:
    """Return what a control loop needs: objects in, requests to the api and decisions out, its own health served."""
    return Permissions(
        publish=(
            *_own_inbox(user),
            subjects.rpc_subject(user, ">"),
            subjects.decisions_of(component),
            *(jetstream.create_consumer(subjects.OBJECTS.name, "*", subject) for subject in reads),
            jetstream.flow_control(subjects.OBJECTS.name),
            *_own_inbox(ADMIN),
            *_own_inbox(API),
        ),
        subscribe=(*_own_inbox(user), *_micro_service(service), subjects.service_subject(service, ">")),
    )
