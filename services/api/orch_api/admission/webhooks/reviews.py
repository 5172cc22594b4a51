"""AdmissionReviews of admission.k8s.io/v1: what a webhook is sent, and what it may answer (webhook/request)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from orch.errors import OrchError, StatusDetails
from orch_api.admission.chain import Request
from orch_api.admission.questions import admission_request
from orch_api.resource import Resource
from orch_api.strategy import Document

VERSIONS: Final = ("v1", "v1beta1")
_GROUP: Final = "admission.k8s.io"
_KIND: Final = "AdmissionReview"
_LEFT_OUT_IF_EMPTY: Final = ("subResource", "requestSubResource", "name", "namespace")
_LEFT_OUT_OF_USERS: Final = ("uid", "groups", "extra")
_PATCH_TYPE: Final = "JSONPatch"

_encode: Final = msgspec.json.Encoder().encode


class ReviewError(OrchError):
    """An answer that is no proper one; in Kubernetes' words."""


class Stated(msgspec.Struct, frozen=True, rename="camel"):
    """The Status with which a webhook explains its refusal, as far as it is used."""

    code: int | None = None
    status: str | None = None
    message: str | None = None
    reason: str | None = None
    details: StatusDetails | None = None


class _Response(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    allowed: bool = False
    status: Stated | None = None
    patch: bytes | None = None
    patch_type: str | None = None
    audit_annotations: dict[str, str] | None = None
    warnings: list[str] | None = None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    api_version: str = ""
    response: _Response | None = None


class Reply(msgspec.Struct, frozen=True):
    """What a webhook answered. `patch` is a JSON patch, or empty."""

    allowed: bool
    status: Stated
    patch: bytes
    annotations: Mapping[str, str]
    warnings: tuple[str, ...]


_decode: Final = msgspec.json.Decoder(_Review).decode


def review_version(versions: tuple[str, ...]) -> str:
    """Return in which version a webhook is asked: the first that it lists and that is known here, "" for none."""
    return next((one for one in versions if one in VERSIONS), "")


def question(
    request: Request, target: Resource, shown: Document | None, old: Document | None, uid: str, version: str
) -> bytes:
    """Return the AdmissionReview that a webhook is sent."""
    told: dict[str, Any] = {"uid": uid, **admission_request(request, target)}
    for name in _LEFT_OUT_IF_EMPTY:
        if not told[name]:
            del told[name]
    told["userInfo"] = {
        name: value for name, value in told["userInfo"].items() if value or name not in _LEFT_OUT_OF_USERS
    }
    told |= {"object": shown, "oldObject": old}
    return _encode({"kind": _KIND, "apiVersion": f"{_GROUP}/{version}", "request": told})


def read(answer: bytes, uid: str, version: str, *, mutating: bool) -> Reply:
    """Return what an answer says. Raises ReviewError."""
    try:
        review = _decode(answer)
    except msgspec.MsgspecError as error:
        raise ReviewError(f"the answer cannot be read: {error}") from error
    response = review.response
    if response is None:
        raise ReviewError("webhook response was absent")
    if version == "v1":
        _check_identity(review, response, uid)
    patch_type = response.patch_type
    if not mutating:
        if response.patch:
            raise ReviewError("validating webhook may not return response.patch")
        if patch_type is not None:
            raise ReviewError("validating webhook may not return response.patchType")
    elif version == "v1":
        if response.patch and patch_type is None:
            raise ReviewError("webhook returned response.patch but not response.patchType")
        if not response.patch and patch_type is not None:
            raise ReviewError("webhook returned response.patchType but not response.patch")
    if patch_type not in {None, _PATCH_TYPE}:
        raise ReviewError(f'webhook returned invalid response.patchType of "{patch_type}"')
    return Reply(
        response.allowed,
        response.status or Stated(),
        response.patch or b"",
        response.audit_annotations or {},
        tuple(response.warnings or ()),
    )


def _check_identity(review: _Review, response: _Response, uid: str) -> None:
    if response.uid != uid:
        raise ReviewError(f'expected response.uid="{uid}", got "{response.uid}"')
    expected = f"{_GROUP}/v1"
    if (review.kind, review.api_version) != (_KIND, expected):
        got = f"{review.api_version or '/'}, Kind={review.kind}"
        raise ReviewError(f"expected webhook response of {expected}, Kind={_KIND}, got {got}")
