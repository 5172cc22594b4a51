"""The default roles for people: cluster-admin, admin, edit and view, and what everybody may look at.

The facts are those of Kubernetes 1.37 (pkg/auth/authorizer/rbac/bootstrappolicy).
"""

from __future__ import annotations

from typing import Final

from orch_api.auth.identity import AUTHENTICATED, MASTERS, MONITORING, SERVICE_ACCOUNTS, UNAUTHENTICATED
from orch_api.auth.rbac.definitions import (
    CORE,
    READ,
    READ_WRITE,
    WRITE,
    Binding,
    Role,
    group,
    paths,
    rule,
)

_TO_ADMIN: Final = "rbac.authorization.k8s.io/aggregate-to-admin"
_TO_EDIT: Final = "rbac.authorization.k8s.io/aggregate-to-edit"
_TO_VIEW: Final = "rbac.authorization.k8s.io/aggregate-to-view"

_HEALTH: Final = "/livez /readyz /healthz"
_VERSION: Final = "/version /version/"

_VIEW: Final = (
    rule(
        READ,
        "pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status endpoints "
        "persistentvolumeclaims persistentvolumeclaims/status configmaps",
    ),
    rule(
        READ,
        "limitranges resourcequotas bindings pods/status resourcequotas/status namespaces/status "
        "replicationcontrollers/status pods/log",
    ),
    rule(READ, "namespaces"),
    rule(READ, "events", CORE, "events.k8s.io"),
    rule(READ, "endpointslices", "discovery.k8s.io"),
    rule(
        READ,
        "controllerrevisions statefulsets statefulsets/status statefulsets/scale daemonsets daemonsets/status "
        "deployments deployments/status deployments/scale replicasets replicasets/status replicasets/scale",
        "apps",
    ),
    rule(READ, "horizontalpodautoscalers horizontalpodautoscalers/status", "autoscaling"),
    rule(READ, "jobs cronjobs cronjobs/status jobs/status", "batch"),
    rule(
        READ,
        "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status "
        "replicasets replicasets/scale replicasets/status replicationcontrollers/scale networkpolicies",
        "extensions",
    ),
    rule(READ, "poddisruptionbudgets poddisruptionbudgets/status", "policy"),
    rule(READ, "networkpolicies ingresses ingresses/status", "networking.k8s.io"),
    rule(READ, "resourceclaims resourceclaims/status resourceclaimtemplates", "resource.k8s.io"),
)

_EDIT: Final = (
    # Reading these is a way to more rights, so that who may only view may not.
    rule(READ, "pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy"),
    rule("impersonate", "serviceaccounts"),
    rule(WRITE, "pods pods/attach pods/proxy pods/exec pods/portforward"),
    rule("create", "pods/eviction"),
    rule(
        WRITE,
        "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/proxy "
        "persistentvolumeclaims configmaps secrets",
    ),
    rule("create", "serviceaccounts/token"),
    rule(WRITE, "events", CORE, "events.k8s.io"),
    rule(
        WRITE,
        "statefulsets statefulsets/scale daemonsets deployments deployments/scale deployments/rollback replicasets "
        "replicasets/scale",
        "apps",
    ),
    rule(WRITE, "horizontalpodautoscalers", "autoscaling"),
    rule(WRITE, "jobs cronjobs", "batch"),
    rule(
        WRITE,
        "daemonsets deployments deployments/scale deployments/rollback ingresses replicasets replicasets/scale "
        "replicationcontrollers/scale networkpolicies",
        "extensions",
    ),
    rule(WRITE, "poddisruptionbudgets", "policy"),
    rule(WRITE, "networkpolicies ingresses", "networking.k8s.io"),
    rule(READ_WRITE, "leases", "coordination.k8s.io"),
    rule(WRITE, "resourceclaims resourceclaimtemplates", "resource.k8s.io"),
)

_ADMIN: Final = (
    rule("create", "localsubjectaccessreviews", "authorization.k8s.io"),
    rule(READ_WRITE, "roles rolebindings", "rbac.authorization.k8s.io"),
)

ROLES: Final = (
    Role(name="cluster-admin", rules=(rule("*", "*", "*"), paths("*", "*"))),
    Role(
        name="system:discovery",
        rules=(paths("get", f"{_HEALTH} {_VERSION} /openapi /openapi/* /api /api/* /apis /apis/*"),),
    ),
    Role(
        name="system:monitoring",
        rules=(
            paths("get", f"/metrics /metrics/slis {_HEALTH} /livez/* /readyz/* /healthz/* /flagz /statusz"),
            rule("get", "nodes/metrics"),
        ),
    ),
    Role(
        name="system:basic-user",
        rules=(
            rule("create", "selfsubjectaccessreviews selfsubjectrulesreviews", "authorization.k8s.io"),
            rule("create", "selfsubjectreviews", "authentication.k8s.io"),
        ),
    ),
    Role(name="system:public-info-viewer", rules=(paths("get", f"{_HEALTH} {_VERSION}"),)),
    Role(name="admin", aggregates=_TO_ADMIN),
    Role(name="edit", aggregates=_TO_EDIT, labels={_TO_ADMIN: "true"}),
    Role(name="view", aggregates=_TO_VIEW, labels={_TO_EDIT: "true"}),
    Role(name="system:aggregate-to-admin", rules=_ADMIN, labels={_TO_ADMIN: "true"}),
    Role(name="system:aggregate-to-edit", rules=_EDIT, labels={_TO_EDIT: "true"}),
    Role(name="system:aggregate-to-view", rules=_VIEW, labels={_TO_VIEW: "true"}),
    Role(
        name="system:service-account-issuer-discovery",
        rules=(
            paths(
                "get",
                "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
            ),
        ),
    ),
    Role(
        name="system:cluster-trust-bundle-discovery",
        rules=(rule(READ, "clustertrustbundles", "certificates.k8s.io"),),
    ),
)

BINDINGS: Final = (
    Binding(name="cluster-admin", role="cluster-admin", subjects=(group(MASTERS),)),
    Binding(name="system:monitoring", role="system:monitoring", subjects=(group(MONITORING),)),
    Binding(name="system:discovery", role="system:discovery", subjects=(group(AUTHENTICATED),)),
    Binding(name="system:basic-user", role="system:basic-user", subjects=(group(AUTHENTICATED),)),
    Binding(
        name="system:public-info-viewer",
        role="system:public-info-viewer",
        subjects=(group(AUTHENTICATED), group(UNAUTHENTICATED)),
    ),
    Binding(
        name="system:service-account-issuer-discovery",
        role="system:service-account-issuer-discovery",
        subjects=(group(SERVICE_ACCOUNTS),),
    ),
    Binding(
        name="system:cluster-trust-bundle-discovery",
        role="system:cluster-trust-bundle-discovery",
        subjects=(group(SERVICE_ACCOUNTS),),
    ),
)
