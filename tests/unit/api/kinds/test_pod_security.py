"""What security contexts may say, in the words of ValidatePodSecurityContext."""

import pytest

SYSCTL = (
    "must have at most 253 characters and match regex "
    r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
)


def with_context(pod, context, **spec):
    document = pod()
    document["spec"] |= {"securityContext": context, **spec}
    return document


def sysctls(*names):
    return {"sysctls": [{"name": name, "value": "1"} for name in names]}


@pytest.mark.parametrize(
    "context",
    [
        sysctls("kernel.shmmax", "net.ipv4/tcp_syncookies"),
        {"supplementalGroups": [0, 2**31 - 1], "fsGroupChangePolicy": "OnRootMismatch"},
        {"supplementalGroupsPolicy": "Strict", "seccompProfile": {"type": "RuntimeDefault"}},
        {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"}},
        {"appArmorProfile": {"type": "Unconfined"}},
    ],
)
def test_what_is_fine(problems, pod, context):
    assert problems("pods", with_context(pod, context)) == []


@pytest.mark.parametrize(
    ("context", "spec", "expected"),
    [
        (sysctls("foo-"), {}, f'spec.securityContext.sysctls[0].name: Invalid value: "foo-": {SYSCTL}'),
        (sysctls(""), {}, "spec.securityContext.sysctls[0].name: Required value"),
        (sysctls("a", "a"), {}, 'spec.securityContext.sysctls[1].name: Duplicate value: "a"'),
        (
            sysctls("net.core.somaxconn"),
            {"hostNetwork": True},
            (
                "spec.securityContext.sysctls[0].name: Invalid value: "
                "\"net.core.somaxconn\": may not be specified when 'hostNetwork' is true"
            ),
        ),
        (
            {"supplementalGroups": [-1]},
            {},
            (
                "spec.securityContext.supplementalGroups[0]: Invalid value: -1: "
                "must be between 0 and 2147483647, inclusive"
            ),
        ),
        (
            {"runAsUser": 1},
            {"hostPID": True, "shareProcessNamespace": True},
            (
                "spec.securityContext.shareProcessNamespace: Invalid value: true: "
                "ShareProcessNamespace and HostPID cannot both be enabled"
            ),
        ),
        (
            {"fsGroupChangePolicy": "Never"},
            {},
            (
                'spec.securityContext.fsGroupChangePolicy: Unsupported value: "Never": '
                'supported values: "Always", "OnRootMismatch"'
            ),
        ),
        (
            {"seccompProfile": {"type": "Localhost"}},
            {},
            (
                "spec.securityContext.seccompProfile.localhostProfile: Required value: "
                "must be set when seccomp type is Localhost"
            ),
        ),
        (
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "../a"}},
            {},
            "spec.securityContext.seccompProfile.localhostProfile: Invalid value: \"../a\": must not contain '..'",
        ),
        (
            {"appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "a"}},
            {},
            (
                'spec.securityContext.appArmorProfile.localhostProfile: Invalid value: "a": '
                "can only be set when AppArmor type is Localhost"
            ),
        ),
        (
            {"appArmorProfile": {}},
            {},
            "spec.securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set",
        ),
    ],
)
def test_what_is_wrong(problems, pod, context, spec, expected):
    assert problems("pods", with_context(pod, context, **spec)) == [expected]


def test_containers_have_contexts_of_their_own(problems, pod):
    document = pod()
    document["spec"]["containers"][0]["securityContext"] = {
        "procMount": "All",
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["CAP_SYS_ADMIN"]},
    }
    first, second = problems("pods", document)
    assert first.startswith('spec.containers[0].securityContext.procMount: Unsupported value: "All"')
    assert "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN" in second
