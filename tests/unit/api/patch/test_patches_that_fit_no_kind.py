"""A patch that leaves no object of the kind is invalid, and says so as Kubernetes does for each form of patch."""

from __future__ import annotations

from typing import Any

import pytest

from orch.errors import BadRequestError, InvalidError
from orch_api.patch import unfit
from orch_api.schema import Schemas


def refusal(
    patched: dict[str, Any], strategic: Any = None, kind: tuple[str, str, str] = ("apps", "v1", "Deployment")
) -> Any:
    schema = Schemas.load().of(*kind)
    with pytest.raises(BadRequestError) as caught:
        schema.convert(patched, "Strict")
    return unfit.refused(caught.value, schema, patched, strategic)


def test_the_whole_document_is_shown_for_patches_of_json() -> None:
    error = refusal({"spec": 1})
    assert isinstance(error, InvalidError)
    assert error.message == (
        r' "" is invalid: patch: Invalid value: "{\"spec\":1}": '
        "json: cannot unmarshal number into Go struct field Deployment.spec of type v1.DeploymentSpec"
    )
    error = refusal({"spec": {"replica": 1}})
    assert error.message.endswith(r'"{\"spec\":{\"replica\":1}}": strict decoding error: unknown field "spec.replica"')


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"spec": 1}, 'map[spec:1]": cannot restore struct from: int64'),
        ({"spec": []}, 'map[spec:[]]": cannot restore struct from: slice'),
        ({"spec": {"template": {"spec": {"containers": {}}}}}, "cannot restore slice from map"),
        ({"metadata": {"labels": "a"}}, 'map[metadata:map[labels:a]]": cannot restore map from string'),
        ({"metadata": {"labels": {"a": 1}}}, "cannot convert int64 to string"),
        ({"metadata": {"labels": {"a": True, "b": None}}}, 'a:true b:<nil>]]]": unrecognized type: string'),
        ({"spec": {"replicas": "3"}}, "unrecognized type: int32"),
        ({"spec": {"replicas": 1.5}}, 'replicas:1.5]]": cannot convert float64 to int32'),
        ({"spec": {"paused": 1}}, "unrecognized type: bool"),
        ({"spec": {"replica": 1}}, 'map[spec:map[replica:1]]": strict decoding error: unknown field "spec.replica"'),
    ],
)
def test_the_patch_is_shown_for_strategic_ones(patch: dict[str, Any], said: str) -> None:
    error = refusal(patch, patch)
    assert error.message.startswith(' "" is invalid: patch: Invalid value: "map[')
    assert error.message.endswith(said)
    assert [cause.field for cause in error.details.causes] == ["patch"]
