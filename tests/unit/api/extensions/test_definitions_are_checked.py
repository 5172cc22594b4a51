"""What a CustomResourceDefinition may say, in the words of Kubernetes."""

from typing import Any

import pytest
from definitions import definition, version

from orch_api.kinds.definitions import DefinitionStrategy

STRATEGY = DefinitionStrategy()
AT = "spec.versions[0].schema.openAPIV3Schema"


def problems(document: Any, old: Any = None) -> list[str]:
    STRATEGY.default(document)
    if old is None:
        STRATEGY.prepare_create(document)
        found = STRATEGY.validate(document)
    else:
        STRATEGY.prepare_update(document, old)
        found = STRATEGY.validate_changed(document, old)
    return [f"{one.field}: {one.message}" for one in found]


def of_schema(schema: dict[str, Any], *, status: bool = False) -> list[str]:
    more = {"subresources": {"status": {}}} if status else {}
    return problems(definition(version(schema={"openAPIV3Schema": schema}, **more)))


def of_field(field: dict[str, Any]) -> list[str]:
    return of_schema({"type": "object", "properties": {"spec": field}})


def stored(document: Any) -> Any:
    STRATEGY.default(document)
    STRATEGY.prepare_create(document)
    return document


def test_a_proper_definition_is_accepted_and_completed() -> None:
    document = definition(version(properties={"size": {"type": "integer"}}))
    assert problems(document) == []
    assert document["spec"]["names"] == {
        "plural": "crontabs",
        "kind": "CronTab",
        "singular": "crontab",
        "listKind": "CronTabList",
    }
    assert document["spec"]["conversion"] == {"strategy": "None"}
    assert document["status"] == {"storedVersions": ["v1"]}
    assert document["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"group": "example"}, 'spec.group: Invalid value: "example": should be a domain with at least one dot'),
        (
            {"scope": "Somewhere"},
            'spec.scope: Unsupported value: "Somewhere": supported values: "Cluster", "Namespaced"',
        ),
        (
            {"names": {"plural": "crontabs", "kind": "CronTab", "listKind": "CronTab"}},
            'spec.names.listKind: Invalid value: "CronTab": kind and listKind may not be the same',
        ),
        ({"names": {"plural": "crontabs"}}, "spec.names.kind: Required value"),
        (
            {"conversion": {"strategy": "Webhook"}},
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "http://a/b"}}}},
            (
                "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the "
                "only allowed URL scheme; "
                "desired format: https://host[/path]"
            ),
        ),
        (
            {
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {"clientConfig": {"url": "https://a/b"}, "conversionReviewVersions": ["v7"]},
                }
            },
            'spec.conversion.conversionReviewVersions: Invalid value: ["v7"]: must include at least one of v1, v1beta1',
        ),
        (
            {"preserveUnknownFields": True},
            (
                "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set "
                "x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
            ),
        ),
    ],
)
def test_what_the_definition_says_of_itself(change: Any, problem: str) -> None:
    assert problem in problems(definition(version(), **change))


def test_the_name_is_made_of_plural_and_group() -> None:
    document = definition(version())
    document["metadata"]["name"] = "others.stable.example.com"
    assert problems(document) == [
        'metadata.name: Invalid value: "others.stable.example.com": must be spec.names.plural+"."+spec.group'
    ]


def test_plurals_are_lower_case() -> None:
    (problem, *_) = problems(definition(version(), plural="CronTabs"))
    assert problem.startswith(
        'spec.names.plural: Invalid value: "CronTabs": a DNS-1035 label must consist of lower case'
    )


def test_exactly_one_version_is_stored_and_names_differ() -> None:
    none = problems(definition(version(storage=False)))
    assert any("must have exactly one version marked as storage version" in one for one in none)
    twice = problems(definition(version(), version(storage=False)))
    assert any("must contain unique version names" in one for one in twice)


def test_groups_of_kubernetes_need_approval() -> None:
    document = definition(version(), group="things.k8s.io")
    document["metadata"]["name"] = "crontabs.things.k8s.io"
    assert problems(document) == [
        (
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval "
            'annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'
        )
    ]
    document["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test"}
    assert problems(document) == []


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ({}, f"{AT}.properties[spec].type: Required value: must not be empty for specified object fields"),
        ({"type": "array"}, f"{AT}.properties[spec].items: Required value: must be specified"),
        (
            {"type": "array", "items": {}},
            f"{AT}.properties[spec].items.type: Required value: must not be empty for specified array items",
        ),
        (
            {"type": "text"},
            (
                f'{AT}.properties[spec].type: Unsupported value: "text": supported values: "array", '
                '"boolean", "integer", '
                '"number", "object", "string"'
            ),
        ),
        (
            {"type": "string", "anyOf": [{"type": "string"}]},
            f"{AT}.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            {"type": "string", "allOf": [{"default": "x"}]},
            f"{AT}.properties[spec].allOf[0].default: Forbidden: must be undefined to be structural",
        ),
        (
            {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
            (
                f"{AT}.properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if "
                "x-kubernetes-int-or-string is true"
            ),
        ),
        (
            {"type": "string", "pattern": "("},
            (
                f'{AT}.properties[spec].pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: '
                "invalid regular expression: missing ): ("
            ),
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
            (
                f"{AT}.properties[spec].additionalProperties: Forbidden: additionalProperties and "
                "properties are mutual "
                "exclusive"
            ),
        ),
        (
            {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            (
                f"{AT}.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime "
                "complexity becomes quadratic"
            ),
        ),
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": False},
            (
                f"{AT}.properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: false: must "
                "be true or undefined"
            ),
        ),
        (
            {"type": "string", "x-kubernetes-list-type": "set"},
            (
                f'{AT}.properties[spec].type: Invalid value: "string": must be array if '
                "x-kubernetes-list-type is specified"
            ),
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}},
            (
                f"{AT}.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if "
                "x-kubernetes-list-type is map"
            ),
        ),
        (
            {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}}},
            },
            (
                f"{AT}.properties[spec].items.properties[a].default: Required value: this property is in "
                "x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "properties": {}}},
            (
                f'{AT}.properties[spec].items.x-kubernetes-map-type: Invalid value: "null": must be '
                "atomic as item of a "
                "list with x-kubernetes-list-type=set"
            ),
        ),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            (
                f"{AT}.properties[spec].properties: Required value: must not be empty if "
                "x-kubernetes-embedded-resource is "
                "true without x-kubernetes-preserve-unknown-fields"
            ),
        ),
        (
            {"type": "integer", "default": "x"},
            (
                f'{AT}.properties[spec].default: Invalid value: "string": '
                f"{AT}.properties[spec].default in body must be of "
                'type integer: "string"'
            ),
        ),
        (
            {"type": "object", "properties": {}, "default": {"a": 1}},
            f'{AT}.properties[spec].default: Invalid value: {{"a":1}}: must not have unknown fields',
        ),
        ({"type": "string", "$ref": "x"}, f"{AT}.properties[spec].$ref: Forbidden: $ref is not supported"),
    ],
)
def test_schemas_are_structural_and_consistent(field: Any, problem: str) -> None:
    assert problem in of_field(field)


def test_the_root_is_an_object_whose_metadata_is_left_alone() -> None:
    assert f'{AT}.type: Invalid value: "string": must be object at the root' in of_schema({"type": "string"})
    named = {
        "type": "object",
        "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }
    assert of_schema(named) == []
    labelled = {
        "type": "object",
        "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}},
    }
    assert of_schema(labelled) == [
        (
            f"{AT}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
            "metadata is implicitly specified"
        )
    ]


def test_with_a_status_the_root_says_little() -> None:
    (problem,) = of_schema({"type": "object", "properties": {}, "minProperties": 1}, status=True)
    assert problem.endswith("fields are allowed at the root of the schema if the status subresource is enabled")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            {"subresources": {"scale": {"specReplicasPath": ".replicas", "statusReplicasPath": ".status.replicas"}}},
            (
                'spec.versions[0].subresources.scale.specReplicasPath: Invalid value: ".replicas": '
                "should be a json path "
                "under .spec"
            ),
        ),
        (
            {"additionalPrinterColumns": [{"name": "A", "type": "text", "jsonPath": ".spec.a"}]},
            (
                'spec.versions[0].additionalPrinterColumns[0].type: Invalid value: "text": must be one of '
                "boolean,date,integer,number,string"
            ),
        ),
        (
            {"additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": "spec.a"}]},
            (
                'spec.versions[0].additionalPrinterColumns[0].JSONPath: Invalid value: "spec.a": '
                "must be a simple json path "
                "starting with ."
            ),
        ),
        (
            {"selectableFields": [{"jsonPath": ".spec.nope"}]},
            (
                'spec.versions[0].selectableFields[0].jsonPath: Invalid value: ".spec.nope": is an '
                "invalid path: does not "
                "refer to a valid field: .spec.nope"
            ),
        ),
        (
            {"selectableFields": [{"jsonPath": ".spec"}]},
            (
                'spec.versions[0].selectableFields[0].jsonPath: Invalid value: ".spec": must point '
                "to a field of type string, "
                "boolean or integer. Enum string fields and strings with formats are allowed."
            ),
        ),
        (
            {"deprecationWarning": "old"},
            'spec.versions[0].deprecationWarning: Invalid value: "old": can only be set for deprecated versions',
        ),
    ],
)
def test_what_a_version_offers_beside_its_schema(more: Any, problem: str) -> None:
    assert problem in problems(definition(version(**more)))


def test_lasting_parts_cannot_change() -> None:
    old = stored(definition(version()))
    old["metadata"]["uid"] = "u"
    changed = definition(version(), kind="Other", scope="Cluster")
    loose = problems(changed, old)
    assert not any("immutable" in one for one in loose)
    old["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    found = problems(definition(version(), kind="Other", scope="Cluster"), old)
    assert 'spec.scope: Invalid value: "Cluster": field is immutable' in found
    assert 'spec.names.kind: Invalid value: "Other": field is immutable' in found


def test_versions_that_were_stored_stay() -> None:
    old = stored(definition(version()))
    new = definition(version("v2"))
    found = problems(new, old)
    assert new["status"]["storedVersions"] == ["v1", "v2"]
    assert found == [
        (
            'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was '
            "previously a storage version, "
            "and must remain in spec.versions until a storage migration ensures no data remains "
            "persisted in v1 and removes "
            "v1 from status.storedVersions"
        )
    ]


def test_schemas_that_an_update_leaves_alone_stay_accepted() -> None:
    old = stored(definition(version(properties={"a": {"type": "nothing"}})))
    again = definition(version(properties={"a": {"type": "nothing"}}), conversion={"strategy": "None"})
    assert problems(again, old) == []


def test_what_is_accepted_but_odd_is_pointed_out() -> None:
    names = {"type": "string", "format": "flavour"}
    sets = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "array", "items": {"type": "string"}}}
    document = definition(version(properties={"a": names, "b": sets}))
    assert STRATEGY.warnings(document) == [
        'unrecognized format "flavour"',
        (
            'x-kubernetes-list-type: set for items of type "array" is not supported by server-side '
            "apply or CEL validation "
            "rules"
        ),
    ]


def test_schemas_of_absurd_depth_are_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        deep = {"type": "object", "properties": {"a": deep}}
    (problem,) = of_field(deep)
    assert problem.endswith("the schema is nested more than 300 levels deep")
    deep = {"type": "string"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"a": deep}, "default": {}}
    assert of_field(deep) == []
