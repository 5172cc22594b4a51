import pytest

from orch_api.kinds.resource_names import container_resource_name, quota_resource_name, resource_name
from orch_api.kinds.resource_quotas import ResourceQuotaStrategy


def limit_range(**limit):
    return {"metadata": {"name": "a", "namespace": "default"}, "spec": {"limits": [{"type": "Container", **limit}]}}


def quota(hard=None, **spec):
    return {"metadata": {"name": "a", "namespace": "default"}, "spec": {"hard": hard or {}, **spec}}


def test_containers_get_what_they_may_have(created):
    made = created("limitranges", limit_range(max={"cpu": "2000m"}, min={"cpu": "1", "memory": "1024Ki"}))
    assert made["spec"]["limits"] == [
        {
            "type": "Container",
            "max": {"cpu": "2"},
            "min": {"cpu": "1", "memory": "1Mi"},
            "default": {"cpu": "2"},
            "defaultRequest": {"cpu": "2", "memory": "1Mi"},
        }
    ]
    pods = created("limitranges", limit_range(type="Pod", max={"cpu": "2"}))["spec"]["limits"]
    assert pods == [{"type": "Pod", "max": {"cpu": "2"}}]


AT = "spec.limits[0]"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (
            {"type": "House"},
            [f'{AT}.type: Invalid value: "House": must be a standard limit type or fully qualified'],
        ),
        ({"type": "acme.io/house"}, []),
        (
            {"type": "Pod", "default": {"cpu": "1"}},
            [f"{AT}.default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            {"type": "PersistentVolumeClaim"},
            [
                (
                    f"{AT}.limits: Required value: either minimum or maximum storage value is required, but neither "
                    "was provided"
                ),
            ],
        ),
        ({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}, []),
        (
            {"type": "Pod", "max": {"storage": "1Gi"}},
            [f'{AT}.max[storage]: Invalid value: "storage": must be a standard resource for containers'],
        ),
        (
            {"type": "Pod", "max": {"cpu": "-1"}},
            [f'{AT}.max[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (
            {"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}},
            [f'{AT}.min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        (
            {"min": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}},
            [f'{AT}.defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1'],
        ),
        (
            {"max": {"cpu": "2"}, "defaultRequest": {"cpu": "3"}},
            [
                f'{AT}.defaultRequest[cpu]: Invalid value: "3": default request value 3 is greater than max value 2',
                (
                    f'{AT}.defaultRequest[cpu]: Invalid value: "3": default request value 3 is greater than default '
                    "limit value 2"
                ),
            ],
        ),
        (
            {"max": {"cpu": "2"}, "default": {"cpu": "3"}, "defaultRequest": {"cpu": "1"}},
            [f'{AT}.default[cpu]: Invalid value: "2": default value 3 is greater than max value 2'],
        ),
        (
            {"min": {"cpu": "2"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}},
            [
                (
                    f'{AT}.defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default '
                    "limit value 1"
                ),
                f'{AT}.default[cpu]: Invalid value: "2": min value 2 is greater than default value 1',
            ],
        ),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}},
            [f'{AT}.maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'],
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "3"}, "maxLimitRequestRatio": {"cpu": "4"}},
            [f'{AT}.maxLimitRequestRatio[cpu]: Invalid value: "4": ratio 4 is greater than max/min = 3.000000'],
        ),
        (
            {"default": {"acme.io/gpu": "2"}, "defaultRequest": {"acme.io/gpu": "1"}},
            [
                (
                    f'{AT}.defaultRequest[acme.io/gpu]: Invalid value: "1": default value 2 must equal to '
                    "defaultRequest value 1 in acme.io/gpu"
                ),
            ],
        ),
    ],
)
def test_limit_range_rules(problems, limit, expected):
    assert problems("limitranges", limit_range(**limit)) == expected


def test_a_type_is_limited_once(problems):
    document = limit_range()
    document["spec"]["limits"] *= 2
    assert problems("limitranges", document) == ['spec.limits[1].type: Duplicate value: "Container"']


@pytest.mark.parametrize(
    ("hard", "expected"),
    [
        (
            {
                "pods": "1",
                "requests.cpu": "1500m",
                "count/deployments.apps": "2",
                "requests.hugepages-2Mi": "4Mi",
                "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
                "requests.acme.io/gpu": "1",
            },
            [],
        ),
        (
            {"house": "1"},
            [
                'spec.hard[house]: Invalid value: "house": must be a standard resource type or fully qualified',
                'spec.hard[house]: Invalid value: "house": must be a standard resource for quota',
            ],
        ),
        ({"storage": "1"}, ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota']),
        ({"cpu": "-1"}, ['spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0']),
        ({"pods": "500m"}, ['spec.hard[pods]: Invalid value: "500m": must be an integer']),
    ],
)
def test_what_a_quota_limits(problems, hard, expected):
    assert problems("resourcequotas", quota(hard)) == expected


EXPRESSIONS = "spec.scopeSelector.matchExpressions"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"scopes": ["NotBestEffort", "NotTerminating"]}, []),
        ({"scopes": ["Sunday"]}, ['spec.scopes: Invalid value: ["Sunday"]: unsupported scope']),
        (
            {"scopes": ["BestEffort", "NotBestEffort"], "hard": {"pods": "1"}},
            ['spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
        ),
        (
            {"scopes": ["BestEffort"], "hard": {"cpu": "1"}},
            ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
        ),
        (
            {"scopes": ["VolumeAttributesClass"], "hard": {"pods": "1"}},
            ['spec.scopes: Invalid value: ["VolumeAttributesClass"]: unsupported scope applied to resource'],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            [
                (
                    f"{EXPRESSIONS}.values: Required value: must be at least one value when `operator` is 'In' or "
                    "'NotIn' for scope selector"
                ),
            ],
        ),
        (
            {
                "scopeSelector": {
                    "matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists", "values": ["a"]}]
                }
            },
            [
                (
                    f"{EXPRESSIONS}.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or "
                    "'DoesNotExist' for scope selector"
                ),
            ],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Like"}]}},
            [f'{EXPRESSIONS}.operator: Invalid value: "Like": not a valid selector operator'],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "Sunday", "operator": "Exists"}]}},
            [f'{EXPRESSIONS}.scopeName: Invalid value: "Sunday": unsupported scope'],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "BestEffort", "operator": "DoesNotExist"}]}},
            [
                (
                    f"{EXPRESSIONS}.operator: Invalid value: \"DoesNotExist\": must be 'Exist' when scope is any of "
                    "ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, "
                    "ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
                ),
            ],
        ),
    ],
)
def test_quota_scopes(problems, spec, expected):
    assert problems("resourcequotas", quota(**spec)) == expected


def test_a_quotas_scopes_stay(update_problems):
    old = quota(scopes=["BestEffort", "NotTerminating"])
    assert update_problems("resourcequotas", quota(scopes=["NotTerminating", "BestEffort"]), old) == []
    assert update_problems("resourcequotas", quota(scopes=["BestEffort"]), old) == [
        'spec.scopes: Invalid value: ["BestEffort"]: field is immutable'
    ]


def test_a_quotas_status():
    status = {"hard": {"pods": "1"}, "used": {"pods": "1.5", "cats": "1"}}
    assert [cause.field for cause in ResourceQuotaStrategy().validate_status({"status": status}, {})] == [
        "status.used[pods]",
        "status.used[cats]",
        "status.used[cats]",
    ]


@pytest.mark.parametrize(
    ("rule", "name", "wrong"),
    [
        (resource_name, "requests.storage", False),
        (resource_name, "a/b/c", True),
        (container_resource_name, "hugepages-2Mi", False),
        (container_resource_name, "acme.io/gpu", False),
        (container_resource_name, "requests.acme.io/gpu", True),
        (container_resource_name, "pods", True),
        (quota_resource_name, "count/pods", False),
        (quota_resource_name, "storage", True),
    ],
)
def test_names_of_resources(rule, name, wrong):
    assert bool(rule(name)) is wrong
