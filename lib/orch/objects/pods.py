"""Views of Pod, PodTemplateSpec and what they contain (k8s.io/api/core/v1)."""

from __future__ import annotations

import msgspec

from orch.objects.meta import Condition, LabelSelector, Object, ObjectMeta, View
from orch.objects.volumes import FieldSelector, ResourceFieldSelector, Volume, VolumeMount


class Toleration(View, frozen=True):
    """Lets a pod onto a node with a matching taint."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class ResourceRequirements(View, frozen=True):
    """Quantities as text, by resource name."""

    requests: dict[str, str] = {}
    limits: dict[str, str] = {}


class KeySelector(View, frozen=True):
    """A key of a ConfigMap or a Secret."""

    name: str = ""
    key: str = ""
    optional: bool = False


class FileKeySelector(View, frozen=True):
    """A key of a file of variables in a volume of the pod."""

    volume_name: str = ""
    path: str = ""
    key: str = ""
    optional: bool = False


class EnvVarSource(View, frozen=True):
    """Where a variable's value comes from."""

    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    file_key_ref: FileKeySelector | None = None


class EnvVar(View, frozen=True):
    """An environment variable."""

    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class NamedReference(View, frozen=True):
    """An object in the pod's namespace."""

    name: str = ""
    optional: bool = False


class EnvFromSource(View, frozen=True):
    """All keys of an object as variables."""

    prefix: str = ""
    config_map_ref: NamedReference | None = None
    secret_ref: NamedReference | None = None


class ContainerPort(View, frozen=True):
    """A port that a container listens on."""

    name: str = ""
    container_port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"


class Capabilities(View, frozen=True):
    """What a container's root may do more or less than by default; "ALL" for all there is."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityProfile(View, frozen=True):
    """A seccomp or AppArmor profile: RuntimeDefault, Unconfined, or Localhost with its name on the node."""

    type: str = ""
    localhost_profile: str = ""


class Sysctl(View, frozen=True):
    """A setting of the kernel for one pod."""

    name: str = ""
    value: str = ""


class SecurityContext(View, frozen=True):
    """The settings of a container's or (fields that only it has) a pod's security context that agents honour."""

    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: SecurityProfile | None = None
    app_armor_profile: SecurityProfile | None = None
    proc_mount: str = ""
    fs_group: int | None = None
    fs_group_change_policy: str = ""
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str = ""
    sysctls: tuple[Sysctl, ...] = ()


class ExecAction(View, frozen=True):
    """A command inside the container."""

    command: tuple[str, ...] = ()


class HTTPHeader(View, frozen=True):
    """A header of a request."""

    name: str = ""
    value: str = ""


class HTTPGetAction(View, frozen=True):
    """A GET request; `port` is a number or a port's name, an empty host the pod's address."""

    path: str = ""
    port: int | str = 0
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(View, frozen=True):
    """A connection; `port` is a number or a port's name, an empty host the pod's address."""

    port: int | str = 0
    host: str = ""


class GRPCAction(View, frozen=True):
    """A question of the gRPC health protocol."""

    port: int = 0
    service: str = ""


class SleepAction(View, frozen=True):
    """A pause."""

    seconds: int = 0


class Probe(View, frozen=True):
    """How a container is asked whether it is well, how often, and how many answers count."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(View, frozen=True):
    """What is done after a container has started or before it is stopped."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(View, frozen=True):
    """The hooks of a container. `stop_signal` takes the place of its image's."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str = ""


class RestartRuleOnExitCodes(View, frozen=True):
    """Whether an exit code is (In) or is not (NotIn) one of `values`."""

    operator: str = ""
    values: tuple[int, ...] = ()


class ContainerRestartRule(View, frozen=True):
    """What follows on certain ends of a container."""

    action: str = ""
    exit_codes: RestartRuleOnExitCodes | None = None


class ContainerResizePolicy(View, frozen=True):
    """Whether a change of cpu or memory needs a restart: NotRequired, or RestartContainer."""

    resource_name: str = ""
    restart_policy: str = ""


class Container(View, frozen=True):
    """A container of a pod. Init containers whose `restart_policy` is Always keep running (sidecars)."""

    name: str = ""
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    resize_policy: tuple[ContainerResizePolicy, ...] = ()
    restart_policy: str = ""
    restart_policy_rules: tuple[ContainerRestartRule, ...] = ()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = ""
    termination_message_policy: str = "File"
    security_context: SecurityContext | None = None


class EphemeralContainer(Container, frozen=True):
    """A container that was added to a running pod, to look at it; it may share the processes of another one."""

    target_container_name: str = ""


class NodeSelectorRequirement(View, frozen=True):
    """One expression over a node's labels or fields."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(View, frozen=True):
    """All of a term must hold."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(View, frozen=True):
    """One term must hold."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class PreferredSchedulingTerm(View, frozen=True):
    """A term that is worth `weight`."""

    weight: int = 0
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(View, frozen=True):
    """Which nodes a pod must or would rather run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredSchedulingTerm, ...] = ()


class PodAffinityTerm(View, frozen=True):
    """Pods that select a topology domain."""

    label_selector: LabelSelector | None = None
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None
    topology_key: str = ""
    match_label_keys: tuple[str, ...] = ()
    mismatch_label_keys: tuple[str, ...] = ()


class WeightedPodAffinityTerm(View, frozen=True):
    """A term that is worth `weight`."""

    weight: int = 0
    pod_affinity_term: PodAffinityTerm = PodAffinityTerm()


class PodAffinity(View, frozen=True):
    """Pods to be near to, or (as podAntiAffinity) away from."""

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = ()
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = ()


class Affinity(View, frozen=True):
    """All affinities of a pod."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpreadConstraint(View, frozen=True):
    """How evenly the selected pods lie over the values of a label of nodes."""

    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str = "Honor"
    node_taints_policy: str = "Ignore"
    match_label_keys: tuple[str, ...] = ()


class HostAlias(View, frozen=True):
    """Names of an address, for the pod's hosts file."""

    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodDNSConfigOption(View, frozen=True):
    """An option of the pod's resolver."""

    name: str = ""
    value: str | None = None


class PodDNSConfig(View, frozen=True):
    """What is added to the settings of the pod's resolver that its DNS policy makes."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class PodOS(View, frozen=True):
    """The operating system that a pod is for."""

    name: str = ""


class SchedulingGate(View, frozen=True):
    """Keeps a pod from being scheduled until it is taken away."""

    name: str = ""


class PodReadinessGate(View, frozen=True):
    """A condition, set by others, that must hold before the pod is ready."""

    condition_type: str = ""


class LocalReference(View, frozen=True):
    """An object of the same namespace."""

    name: str = ""


class PodSpec(View, frozen=True):
    """What a pod shall be."""

    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] = ()
    scheduler_name: str = ""
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    resources: ResourceRequirements | None = None
    volumes: tuple[Volume, ...] = ()
    priority: int = 0
    priority_class_name: str = ""
    preemption_policy: str = ""
    scheduling_gates: tuple[SchedulingGate, ...] = ()
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[EphemeralContainer, ...] = ()
    overhead: dict[str, str] = {}
    restart_policy: str = "Always"
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    host_network: bool = False
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    host_users: bool | None = None
    share_process_namespace: bool = False
    hostname: str = ""
    subdomain: str = ""
    hostname_override: str | None = None
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: str = ""
    dns_config: PodDNSConfig | None = None
    enable_service_links: bool | None = None
    runtime_class_name: str = ""
    os: PodOS | None = None
    service_account_name: str = ""
    image_pull_secrets: tuple[LocalReference, ...] = ()
    security_context: SecurityContext | None = None


class ContainerStateWaiting(View, frozen=True):
    """Not started yet, and why."""

    reason: str = ""
    message: str = ""


class ContainerStateRunning(View, frozen=True):
    """Running since."""

    started_at: str = ""


class ContainerStateTerminated(View, frozen=True):
    """Ended, and how."""

    exit_code: int = msgspec.field(default=0, name="exitCode")
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str = ""
    finished_at: str = ""
    container_id: str = msgspec.field(default="", name="containerID")


class ContainerState(View, frozen=True):
    """Exactly one of the three is set; none means waiting."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class LinuxContainerUser(View, frozen=True):
    """As whom the first process of a container was started."""

    uid: int = 0
    gid: int = 0
    supplemental_groups: tuple[int, ...] = ()


class ContainerUser(View, frozen=True):
    """As whom the first process of a container was started, by operating system."""

    linux: LinuxContainerUser | None = None


class VolumeMountStatus(View, frozen=True):
    """How a container sees a volume; `recursive_read_only` is told of those alone that it may not write to."""

    name: str = ""
    mount_path: str = ""
    read_only: bool = False
    recursive_read_only: str = ""


class ContainerStatus(View, frozen=True):
    """What became of a container."""

    name: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = msgspec.field(default="", name="imageID")
    container_id: str = msgspec.field(default="", name="containerID")
    started: bool | None = None
    allocated_resources: dict[str, str] = {}
    resources: ResourceRequirements | None = None
    volume_mounts: tuple[VolumeMountStatus, ...] = ()
    user: ContainerUser | None = None
    stop_signal: str = ""


class PodIP(View, frozen=True):
    """An address of a pod."""

    ip: str = ""


class PodStatus(View, frozen=True):
    """What a pod is."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    host_ip: str = msgspec.field(default="", name="hostIP")
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    start_time: str = ""
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()
    nominated_node_name: str = ""
    qos_class: str = ""
    allocated_resources: dict[str, str] = {}
    resources: ResourceRequirements | None = None

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of that type."""
        for condition in self.conditions:
            if condition.type == kind:
                return condition
        return None


class Pod(Object, frozen=True):
    """A pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class PodTemplate(View, frozen=True):
    """A template as its controller carries it: the spec stays bytes, so that no field is lost."""

    metadata: ObjectMeta = ObjectMeta()
    spec: msgspec.Raw = msgspec.Raw(b"{}")
