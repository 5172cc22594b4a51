import pytest

RESOURCE = {"verb": "get", "resource": "pods"}
PATH = {"verb": "get", "path": "/x"}


@pytest.mark.parametrize(
    ("kind", "document", "expected"),
    [
        ("selfsubjectaccessreviews", {"spec": {"resourceAttributes": RESOURCE}}, []),
        (
            "selfsubjectaccessreviews",
            {"spec": {}},
            [
                (
                    'spec.resourceAttributes: Invalid value: "null": exactly one of nonResourceAttributes or '
                    "resourceAttributes must be specified"
                )
            ],
        ),
        (
            "selfsubjectaccessreviews",
            {"spec": {"resourceAttributes": RESOURCE, "nonResourceAttributes": PATH}},
            [
                (
                    'spec.nonResourceAttributes: Invalid value: {"path":"/x","verb":"get"}: cannot be specified in '
                    "combination with resourceAttributes"
                )
            ],
        ),
        (
            "selfsubjectaccessreviews",
            {"spec": {"resourceAttributes": RESOURCE}, "metadata": {"name": "x"}},
            ['metadata: Invalid value: {"name":"x"}: must be empty'],
        ),
        (
            "subjectaccessreviews",
            {"spec": {"resourceAttributes": RESOURCE}},
            ['spec.user: Invalid value: "": at least one of user or group must be specified'],
        ),
        (
            "localsubjectaccessreviews",
            {"metadata": {"namespace": "a"}, "spec": {"user": "jo", "resourceAttributes": {"namespace": "b"}}},
            ['spec.resourceAttributes.namespace: Invalid value: "b": must match metadata.namespace'],
        ),
        (
            "localsubjectaccessreviews",
            {"metadata": {"namespace": "a"}, "spec": {"user": "jo", "nonResourceAttributes": PATH}},
            [
                (
                    'spec.nonResourceAttributes: Invalid value: {"path":"/x","verb":"get"}: disallowed on this kind of '
                    "request"
                )
            ],
        ),
        (
            "selfsubjectaccessreviews",
            {"spec": {"resourceAttributes": {**RESOURCE, "fieldSelector": {}}}},
            [
                (
                    "spec.resourceAttributes.fieldSelector.requirements: Required value: when "
                    "spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"
                )
            ],
        ),
        (
            "selfsubjectaccessreviews",
            {
                "spec": {
                    "resourceAttributes": {
                        **RESOURCE,
                        "labelSelector": {"requirements": [{"key": "a", "operator": "In"}]},
                    }
                }
            },
            [
                (
                    "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified "
                    "when `operator` is 'In' or 'NotIn'"
                )
            ],
        ),
    ],
)
def test_questions(question_problems, kind, document, expected):
    assert question_problems(kind, document) == expected
