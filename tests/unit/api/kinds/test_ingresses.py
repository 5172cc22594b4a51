from datetime import UTC, datetime

import pytest

from orch_api.registry import REGISTRY

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def backend(**port):
    return {"service": {"name": "web", "port": port or {"number": 80}}}


def path(**fields):
    return {"path": "/", "pathType": "Prefix", "backend": backend(), **fields}


def ingress(*paths, host="", **spec):
    rule = {"http": {"paths": list(paths)}, **({"host": host} if host else {})}
    body = {"rules": [rule], **spec} if paths or host else spec
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": body}


def shown(plural, document):
    resource = next(one for one in REGISTRY.resources if one.plural == plural)
    return {column.name: column.value(document, NOW) for column in resource.columns}


def test_an_ingress_starts_without_addresses_and_counts_its_changes(created):
    made = created("ingresses", ingress(path()) | {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}})
    assert made["status"] == {"loadBalancer": {}}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (ingress(path()), []),
        (
            ingress(),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            ingress(path(pathType=None)),
            ["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            ingress(path(pathType="Odd")),
            [
                (
                    'spec.rules[0].http.paths[0].pathType: Unsupported value: "Odd": supported values: "Exact", '
                    '"ImplementationSpecific", "Prefix"'
                )
            ],
        ),
        (
            ingress(path(path="a//b/..")),
            [
                'spec.rules[0].http.paths[0].path: Invalid value: "a//b/..": must be an absolute path',
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
            ],
        ),
        (ingress(path(path="", pathType="ImplementationSpecific")), []),
        (
            ingress(path(backend={})),
            ['spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required'],
        ),
        (
            ingress(path(backend=backend(name="http", number=80))),
            ['spec.rules[0].http.paths[0].backend: Invalid value: "": cannot set both port name & port number'],
        ),
        (
            ingress(path(backend=backend(name=""))),
            ["spec.rules[0].http.paths[0].backend: Required value: port name or number is required"],
        ),
        (
            ingress(defaultBackend={**backend(), "resource": {"kind": "Bucket", "name": "a"}}),
            ['spec.defaultBackend: Invalid value: "": cannot set both resource and service backends'],
        ),
        (
            ingress(defaultBackend={"resource": {"kind": "", "name": "a"}}),
            ["spec.defaultBackend.resource.kind: Required value"],
        ),
        (
            ingress(path(), host="10.0.0.1"),
            ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'],
        ),
        (ingress(path(), host="*.example.com", tls=[{"hosts": ["*.example.com"], "secretName": "cert"}]), []),
    ],
)
def test_ingress_rules(problems, document, expected):
    assert problems("ingresses", document) == expected


def test_a_wildcard_stands_first_and_alone(problems):
    (problem,) = problems("ingresses", ingress(path(), host="a.*.com"))
    assert problem.startswith(
        'spec.rules[0].host: Invalid value: "a.*.com": a wildcard DNS-1123 subdomain must start with'
    )


def test_the_annotation_of_old_agrees_with_the_class_of_a_new_ingress(problems):
    document = ingress(path(), ingressClassName="a")
    document["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "b"}
    assert problems("ingresses", document) == [
        (
            'annotations.kubernetes.io/ingress.class: Invalid value: "b": must match `ingressClassName` when '
            "both are specified"
        )
    ]


def test_an_ingress_is_shown_as_kubectl_users_know_it():
    document = ingress(path(), ingressClassName="nginx", tls=[{}])
    document["spec"]["rules"] = [{"host": f"{name}.example.com"} for name in "abcde"]
    document["status"] = {"loadBalancer": {"ingress": [{"hostname": "balancer.example.com"}]}}
    assert shown("ingresses", document) == {
        "Name": "web",
        "Class": "nginx",
        "Hosts": "a.example.com,b.example.com,c.example.com + 2 more...",
        "Address": "balancer.exam...",
        "Ports": "80, 443",
        "Age": "<unknown>",
    }


def ingress_class(**spec):
    return {"metadata": {"name": "nginx"}, "spec": {"controller": "example.com/nginx", **spec}}


def test_parameters_are_looked_for_in_the_cluster(created):
    made = created("ingressclasses", ingress_class(parameters={"kind": "K", "name": "a"}))
    assert made["spec"]["parameters"]["scope"] == "Cluster"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"controller": ""}, ["spec.controller: Required value"]),
        (
            {"controller": "nginx"},
            ['spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")'],
        ),
        (
            {"parameters": {"kind": "K", "name": "a", "scope": "Namespace"}},
            ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
        ),
        (
            {"parameters": {"kind": "K", "name": "a", "namespace": "b"}},
            ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
        ),
    ],
)
def test_ingress_class_rules(problems, spec, expected):
    assert problems("ingressclasses", ingress_class(**spec)) == expected


def test_a_class_keeps_its_controller(update_problems):
    assert update_problems("ingressclasses", ingress_class(controller="example.com/other"), ingress_class()) == [
        'spec.controller: Invalid value: "example.com/other": field is immutable'
    ]
