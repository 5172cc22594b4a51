import pytest

from orch_api import validation
from orch_api.kinds.pods import PodStrategy

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def container(**fields):
    return {"name": "a", "image": "b", **fields}


def test_a_pod_that_is_fine(problems, pod):
    assert problems("pods", pod()) == []


def test_no_containers(problems, pod):
    assert problems("pods", pod(containers=[])) == ["spec.containers: Required value"]


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([{"image": "b"}], "spec.containers[0].name: Required value"),
        ([{"name": "A_", "image": "b"}], f'spec.containers[0].name: Invalid value: "A_": {LABEL}'),
        ([container(), container()], 'spec.containers[1].name: Duplicate value: "a"'),
        ([{"name": "a"}], "spec.containers[0].image: Required value"),
        (
            [container(image=" b")],
            'spec.containers[0].image: Invalid value: " b": must not have leading or trailing whitespace',
        ),
        (
            [container(imagePullPolicy="Sometimes")],
            (
                'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported '
                'values: "Always", "IfNotPresent", "Never"'
            ),
        ),
        (
            [container(ports=[{"containerPort": 70000}])],
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        ([container(ports=[{}])], "spec.containers[0].ports[0].containerPort: Required value"),
        (
            [container(ports=[{"containerPort": 1, "protocol": "tcp"}])],
            'spec.containers[0].ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            [container(ports=[{"containerPort": 1, "name": "Web"}])],
            (
                'spec.containers[0].ports[0].name: Invalid value: "Web": must contain only '
                "alpha-numeric characters (a-z, 0-9), and "
                "hyphens (-)"
            ),
        ),
        (
            [container(ports=[{"containerPort": 1, "name": "x"}, {"containerPort": 2, "name": "x"}])],
            'spec.containers[0].ports[1].name: Duplicate value: "x"',
        ),
        (
            [container(ports=[{"containerPort": 1, "hostPort": 8}, {"containerPort": 2, "hostPort": 8}])],
            'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//8"',
        ),
        ([container(env=[{"value": "x"}])], "spec.containers[0].env[0].name: Required value"),
        (
            [container(env=[{"name": "a=b"}])],
            (
                'spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment '
                "variable name must consist only of "
                "printable ASCII characters other than '='"
            ),
        ),
        (
            [container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])],
            'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
        ),
        (
            [container(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x"}}}])],
            "spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value",
        ),
        (
            [container(volumeMounts=[{"name": "data", "mountPath": "/d"}])],
            'spec.containers[0].volumeMounts[0].name: Not found: "data"',
        ),
        (
            [container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})],
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            [container(resources={"requests": {"cpu": "-1"}})],
            'spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            [container(resources={"requests": {"cpu": "much"}})],
            (
                'spec.containers[0].resources.requests[cpu]: Invalid value: "much": quantities '
                "must match the regular expression "
                "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            ),
        ),
        (
            [container(resources={"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "2"}})],
            'spec.containers[0].resources.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2',
        ),
        ([container(livenessProbe={})], None),
        (
            [container(livenessProbe={"periodSeconds": 1})],
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            [container(livenessProbe={"exec": {"command": ["x"]}, "successThreshold": 2})],
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            [container(lifecycle={"preStop": {"exec": {}}})],
            "spec.containers[0].lifecycle.preStop.exec.command: Required value",
        ),
    ],
)
def test_containers(problems, pod, containers, expected):
    assert problems("pods", pod(containers=containers)) == ([expected] if expected else [])


def test_unknown_resources(problems, pod):
    assert problems("pods", pod(containers=[container(resources={"requests": {"gpu": "1"}})])) == [
        f'spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": {why}'
        for why in ("must be a standard resource type or fully qualified", "must be a standard resource for containers")
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"restartPolicy": "Maybe"},
            'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"',
        ),
        (
            {"dnsPolicy": "x"},
            (
                'spec.dnsPolicy: Unsupported value: "x": supported values: "ClusterFirst", '
                '"ClusterFirstWithHostNet", "Default", "None"'
            ),
        ),
        (
            {"activeDeadlineSeconds": 0},
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        ({"hostname": "A"}, f'spec.hostname: Invalid value: "A": {LABEL}'),
        (
            {"ephemeralContainers": [{"name": "debug", "image": "x"}]},
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        (
            {"tolerations": [{"operator": "Exists"}, {"key": "a", "operator": "Almost"}]},
            'spec.tolerations[1].operator: Unsupported value: "Almost": supported values: "Equal", "Exists"',
        ),
        (
            {"tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}]},
            (
                'spec.tolerations[1].effect: Invalid value: "NoSchedule": effect must be '
                "'NoExecute' when `tolerationSeconds` is set"
            ),
        ),
        (
            {
                "topologySpreadConstraints": [
                    {"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
                ]
            },
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            {
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}},
                }
            },
            (
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: "
                "Required value: must have at least one node selector term"
            ),
        ),
        (
            {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
            (
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: "
                "Required value: can not be empty"
            ),
        ),
        ({"volumes": [{"name": "v", "secret": {}}]}, "spec.volumes[0].secret.secretName: Required value"),
        ({"volumes": [{"name": "v"}, {"name": "v"}]}, 'spec.volumes[1].name: Duplicate value: "v"'),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]},
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            {"volumes": [{"name": "v", "configMap": {"name": "x", "items": [{"key": "k", "path": "../etc"}]}}]},
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"../etc\": must not contain '..'",
        ),
        (
            {"initContainers": [{"name": "i", "image": "b", "livenessProbe": {"exec": {"command": ["x"]}}}]},
            (
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init "
                "containers without restartPolicy=Always"
            ),
        ),
        ({"initContainers": [{"name": "web", "image": "b"}]}, 'spec.initContainers[0].name: Duplicate value: "web"'),
    ],
)
def test_specs(problems, pod, spec, expected):
    assert problems("pods", pod(**spec)) == [expected]


def test_a_label_that_is_too_long(problems, pod):
    document = pod()
    document["metadata"]["labels"] = {"app": "x" * 64}
    assert problems("pods", document) == [
        f'metadata.labels: Invalid value: "{"x" * 64}": must be no more than 63 bytes'
    ]


def test_twice_the_same_variable_is_a_warning(created, pod):
    from_env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    document = created("pods", pod(containers=[container(env=from_env)]))
    assert PodStrategy().warnings(document) == [
        'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'
    ]


TOKEN = {"path": "token", "expirationSeconds": 600}
CERTIFICATE = {"signerName": "example.com/s", "keyType": "ED25519", "credentialBundlePath": "c"}
BUNDLE = {"name": "b", "path": "b"}
AT = "spec.volumes[0].projected"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([{"serviceAccountToken": TOKEN}, {"clusterTrustBundle": BUNDLE}, {"podCertificate": CERTIFICATE}], []),
        (
            [{"serviceAccountToken": TOKEN, "secret": {"name": "s"}}],
            [f"{AT}.sources[0]: Forbidden: may not specify more than 1 volume type per source"],
        ),
        (
            [{"serviceAccountToken": {"path": "..token", "expirationSeconds": 599}}],
            [
                (
                    f"{AT}.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: "
                    "may not specify a duration less than 10 minutes"
                ),
                (f"{AT}.sources[0].serviceAccountToken.path: Invalid value: \"..token\": must not start with '..'"),
            ],
        ),
        (
            [{"serviceAccountToken": TOKEN}, {"podCertificate": {**CERTIFICATE, "keyPath": "token"}}],
            [f'{AT}: Invalid value: "token": conflicting duplicate paths'],
        ),
        (
            [{"clusterTrustBundle": {"path": "b"}}],
            [f"{AT}.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified"],
        ),
        (
            [{"clusterTrustBundle": {"name": "example.com:s:", "path": "b", "labelSelector": {}}}],
            [
                (
                    f'{AT}.sources[0].clusterTrustBundle.name: Invalid value: "example.com:s:": not a valid '
                    f"clustertrustbundlename: {validation.dns_subdomain('')[0]}"
                ),
                (
                    f"{AT}.sources[0].clusterTrustBundle.labelSelector: Invalid value: {{}}: "
                    "labelSelector must be unset if name is specified"
                ),
            ],
        ),
        (
            [{"podCertificate": {"signerName": "s", "keyType": "RSA1", "userAnnotations": {"a": "b"}}}],
            [
                (
                    f'{AT}.sources[0].podCertificate.signerName: Invalid value: "s": must be a fully qualified domain '
                    "and path of the form 'example.com/signer-name'"
                ),
                (
                    f'{AT}.sources[0].podCertificate.keyType: Unsupported value: "RSA1": supported values: '
                    '"ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"'
                ),
                (
                    f"{AT}.sources[0].podCertificate: Required value: specify at least one of credentialBundlePath, "
                    "keyPath, and certificateChainPath"
                ),
                (
                    f'{AT}.sources[0].podCertificate.userAnnotations: Invalid value: "a": must be a domain-prefixed '
                    'key (such as "acme.io/foo")'
                ),
            ],
        ),
    ],
)
def test_projected_volumes(problems, pod, sources, expected):
    assert problems("pods", pod(volumes=[{"name": "v", "projected": {"sources": sources}}])) == expected
