import pytest

GROUP = "rbac.authorization.k8s.io"


def rule(**fields):
    return {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], **fields}


@pytest.mark.parametrize(
    ("plural", "rules", "expected"),
    [
        ("roles", [rule()], []),
        ("roles", [rule(verbs=[])], ["rules[0].verbs: Required value: verbs must contain at least one value"]),
        (
            "roles",
            [{"verbs": ["get"]}],
            [
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            "roles",
            [{"verbs": ["get"], "nonResourceURLs": ["/x"]}],
            [
                'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
            ],
        ),
        ("clusterroles", [{"verbs": ["get"], "nonResourceURLs": ["/x"]}], []),
        (
            "clusterroles",
            [rule(nonResourceURLs=["/x"])],
            [
                (
                    'rules[0].nonResourceURLs: Invalid value: ["/x"]: rules cannot apply to both regular resources and '
                    "non-resource URLs"
                )
            ],
        ),
    ],
)
def test_rules(problems, plural, rules, expected):
    metadata = {"name": "system:a", "namespace": "default"} if plural == "roles" else {"name": "system:a"}
    assert problems(plural, {"metadata": metadata, "rules": rules}) == expected


def test_what_is_aggregated_is_selected(problems):
    role = {"metadata": {"name": "a"}, "aggregationRule": {}}
    assert problems("clusterroles", role) == [
        (
            "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if "
            "aggregationRule is non-nil"
        )
    ]
    role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {"-": "x"}}]}
    assert len(problems("clusterroles", role)) == 1


def binding(kind="Role", *subjects, **reference):
    return {
        "metadata": {"name": "b", "namespace": "default"},
        "roleRef": {"kind": kind, "name": "r", **reference},
        "subjects": list(subjects),
    }


def test_groups_of_roles_and_people_are_taken_for_granted(created):
    made = created("rolebindings", binding("Role", {"kind": "User", "name": "jo"}))
    assert made["roleRef"]["apiGroup"] == GROUP
    assert made["subjects"] == [{"kind": "User", "name": "jo", "apiGroup": GROUP}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (binding("Pod"), 'roleRef.kind: Unsupported value: "Pod": supported values: "Role", "ClusterRole"'),
        (
            binding("Role", apiGroup="x"),
            'roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"',
        ),
        (binding("Role", name=""), "roleRef.name: Required value"),
        (binding("Role", name="a/b"), "roleRef.name: Invalid value: \"a/b\": may not contain '/'"),
        (
            binding("Role", {"kind": "Pod", "name": "x"}),
            'subjects[0].kind: Unsupported value: "Pod": supported values: "ServiceAccount", "User", "Group"',
        ),
        (binding("Role", {"kind": "Group"}), "subjects[0].name: Required value"),
        (
            binding("Role", {"kind": "ServiceAccount", "name": "a", "apiGroup": "x"}),
            'subjects[0].apiGroup: Unsupported value: "x": supported values: ""',
        ),
        (
            binding("Role", {"kind": "User", "name": "a", "apiGroup": "x"}),
            'subjects[0].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"',
        ),
    ],
)
def test_bindings(problems, given, expected):
    assert problems("rolebindings", given) == [expected]


def test_a_binding_for_the_whole_cluster_names_cluster_roles_and_where_accounts_are(problems):
    given = binding("Role", {"kind": "ServiceAccount", "name": "a"})
    del given["metadata"]["namespace"]
    assert problems("clusterrolebindings", given) == [
        'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
        "subjects[0].namespace: Required value",
    ]


def test_the_role_of_a_binding_stays(update_problems):
    assert update_problems("rolebindings", binding("Role"), binding("Role")) == []
    (problem,) = update_problems("rolebindings", binding("ClusterRole"), binding("Role"))
    assert problem.startswith("roleRef: Invalid value: {")
    assert problem.endswith(": cannot change roleRef")


def test_bindings_as_a_table(cells):
    subjects = ({"kind": "User", "name": "jo"}, {"kind": "User", "name": "al"}, {"kind": "Group", "name": "g"})
    account = {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}
    shown = cells("rolebindings", binding("ClusterRole", *subjects, account))
    assert shown == {
        "Name": "b",
        "Role": "ClusterRole/r",
        "Age": "<unknown>",
        "Users": "jo, al",
        "Groups": "g",
        "ServiceAccounts": "default/robot",
    }
