"""The errors that orch raises.

    OrchError
    ├── ConfigError            a setting is unknown or unusable; names its path
    ├── UnavailableError       a dependency cannot be reached now; worth another try
    ├── StoreError
    │   ├── CompactedError     the revision asked for is gone from the store
    │   └── LeaseLostError     the lease has expired; a leader must stop at once
    ├── BusError
    │   ├── StaleWriterError   another writer has published since: this relay is no longer the one
    │   └── StreamClosedError  the other side of a frame stream went away
    ├── TerminalError          reconciling this key again cannot help; counted, not retried
    └── ApiError               what a Kubernetes client is told, as a Status
        ├── StatedError            a refusal whose Status somebody else wrote: a webhook, a policy
        ├── BadRequestError 400 · UnauthorizedError 401 · ForbiddenError 403 · NotFoundError 404
        ├── MethodNotAllowedError 405 · NotAcceptableError 406 · AlreadyExistsError 409 · ConflictError 409
        ├── ExpiredError 410 · TooLargeError 413 · UnsupportedMediaTypeError 415 · InvalidError 422
        └── TooManyRequestsError 429 · InternalError 500 · ServiceUnavailableError 503 · TimeoutError 504

A client library's own error never leaves the module that imports the library: it is chained as the cause of one of
these. Reasons, codes and wording of ApiError follow k8s.io/apimachinery/pkg/api/errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec


class OrchError(Exception):
    """The root of every error that orch raises on purpose."""


class ConfigError(OrchError):
    """A setting that is unknown or unusable."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class UnavailableError(OrchError):
    """A dependency (etcd, NATS, a node, a runtime) cannot be reached now; the same call may succeed later."""


class StoreError(OrchError):
    """The store refused or failed an operation."""


class CompactedError(StoreError):
    """The revision asked for was compacted away. `compacted` is the oldest revision still there, 0 if unknown."""

    def __init__(self, compacted: int) -> None:
        super().__init__(f"the requested revision has been compacted; the oldest available is {compacted}")
        self.compacted = compacted


class LeaseLostError(StoreError):
    """The lease has expired or was revoked."""


class BusError(OrchError):
    """The bus refused or failed an operation."""


class StaleWriterError(BusError):
    """The stream's last message is not the one that this writer sent: another writer took over."""


class StreamClosedError(BusError):
    """The other side of a frame stream closed it or went away."""


class TerminalError(OrchError):
    """Reconciling this key again cannot help until the object changes."""


class Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of a Status's details.causes. `reason` is a CauseType such as FieldValueRequired."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What a Status is about. `kind` holds the resource's plural name, as in Kubernetes."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: int = 0


class Status(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A Kubernetes meta/v1 Status."""

    kind: str = "Status"
    api_version: str = "v1"
    metadata: dict[str, Any] = {}
    status: str = "Failure"
    message: str = ""
    reason: str = ""
    details: StatusDetails | msgspec.UnsetType | None = msgspec.UNSET
    code: int = 500


class ApiError(OrchError):
    """What a Kubernetes client is told when a request fails."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"
    warnings: tuple[str, ...] = ()
    """What else the client is to be told, in Warning headers."""

    def __init__(self, message: str, details: StatusDetails | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def status(self) -> Status:
        """Return the Status that describes this error."""
        return Status(message=self.message, reason=self.reason, details=self.details or msgspec.UNSET, code=self.code)

    def encode(self) -> bytes:
        """Return the Status as JSON."""
        return msgspec.json.encode(self.status())

    @staticmethod
    def decode(status: bytes) -> ApiError:
        """Return the error that a Status in JSON describes, of the class that its reason names."""
        decoded = msgspec.json.decode(status, type=Status)
        kind = _BY_REASON.get(decoded.reason)
        if kind is None:
            kind = _BY_CODE.get(decoded.code, InternalError)
        error = kind.__new__(kind)
        ApiError.__init__(error, decoded.message, decoded.details or None)
        return error


def _qualified(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


class BadRequestError(ApiError):
    """The request itself is malformed."""

    code = 400
    reason = "BadRequest"


class UnauthorizedError(ApiError):
    """The request carries no usable identity."""

    code = 401
    reason = "Unauthorized"

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message)


class ForbiddenError(ApiError):
    """The identity may not do this."""

    code = 403
    reason = "Forbidden"

    @classmethod
    def of(cls, resource: str, group: str, name: str, problem: str) -> ForbiddenError:
        """Return the error for `resource`, worded as Kubernetes does."""
        quoted = f'{_qualified(resource, group)} "{name}"' if name else _qualified(resource, group)
        return cls(f"{quoted} is forbidden: {problem}", StatusDetails(name=name, group=group, kind=resource))


class NotFoundError(ApiError):
    """No such object."""

    code = 404
    reason = "NotFound"

    @classmethod
    def of(cls, resource: str, group: str, name: str) -> NotFoundError:
        """Return the error for an object that does not exist."""
        message = f'{_qualified(resource, group)} "{name}" not found'
        return cls(message, StatusDetails(name=name, group=group, kind=resource))

    @classmethod
    def path(cls) -> NotFoundError:
        """Return the error for a path that names no resource."""
        return cls("the server could not find the requested resource", StatusDetails())


class MethodNotAllowedError(ApiError):
    """The resource has no such verb."""

    code = 405
    reason = "MethodNotAllowed"

    def __init__(self, message: str = "the server does not allow this method on the requested resource") -> None:
        super().__init__(message, StatusDetails())


class NotAcceptableError(ApiError):
    """None of the accepted media types can be produced."""

    code = 406
    reason = "NotAcceptable"


class AlreadyExistsError(ApiError):
    """An object of that name exists."""

    code = 409
    reason = "AlreadyExists"

    @classmethod
    def of(cls, resource: str, group: str, name: str) -> AlreadyExistsError:
        """Return the error for a create of a name that is taken."""
        message = f'{_qualified(resource, group)} "{name}" already exists'
        return cls(message, StatusDetails(name=name, group=group, kind=resource))


class ConflictError(ApiError):
    """The object changed since the caller read it, or a precondition failed."""

    code = 409
    reason = "Conflict"

    MODIFIED: ClassVar[str] = (
        "the object has been modified; please apply your changes to the latest version and try again"
    )

    @classmethod
    def of(cls, resource: str, group: str, name: str, problem: str = MODIFIED) -> ConflictError:
        """Return the error for a write that lost."""
        message = f'Operation cannot be fulfilled on {_qualified(resource, group)} "{name}": {problem}'
        return cls(message, StatusDetails(name=name, group=group, kind=resource))


class ExpiredError(ApiError):
    """The resourceVersion or continue token is too old; the client lists again."""

    code = 410
    reason = "Expired"
    continue_token = ""
    """With which the rest of an expired list can be read as it is now; may be empty."""

    def __init__(self, message: str, details: StatusDetails | None = None, *, continue_token: str = "") -> None:
        super().__init__(message, details)
        self.continue_token = continue_token

    def status(self) -> Status:
        """Return the Status that describes this error."""
        told = super().status()
        return (
            msgspec.structs.replace(told, metadata={"continue": self.continue_token}) if self.continue_token else told
        )


class TooLargeError(ApiError):
    """The object or the request is too large."""

    code = 413
    reason = "RequestEntityTooLarge"


class UnsupportedMediaTypeError(ApiError):
    """The request's media type is not supported here."""

    code = 415
    reason = "UnsupportedMediaType"


class InvalidError(ApiError):
    """The object breaks a rule; the causes name the fields."""

    code = 422
    reason = "Invalid"

    @classmethod
    def of(cls, kind: str, group: str, name: str, causes: Sequence[Cause]) -> InvalidError:
        """Return the error for an object of `kind` (in CamelCase) with all that is wrong with it."""
        problems = [f"{cause.field}: {cause.message}" for cause in causes]
        listed = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        message = f'{_qualified(kind, group)} "{name}" is invalid: {listed}'
        return cls(message, StatusDetails(name=name, group=group, kind=kind, causes=tuple(causes)))


class TooManyRequestsError(ApiError):
    """The server or a budget asks the client to come back later."""

    code = 429
    reason = "TooManyRequests"


class InternalError(ApiError):
    """orch itself failed."""

    code = 500
    reason = "InternalError"


class ServiceUnavailableError(ApiError):
    """The server cannot serve this now."""

    code = 503
    reason = "ServiceUnavailable"


class TimeoutError(ApiError):  # noqa: A001 - the Status reason's own name; always used as errors.TimeoutError
    """The request could not be finished in time."""

    code = 504
    reason = "Timeout"


class StatedError(ApiError):
    """A refusal in the words, and with the code and reason, of somebody who may refuse: a webhook, a policy."""

    def __init__(self, message: str, code: int, reason: str, details: StatusDetails | None = None) -> None:
        super().__init__(message, details)
        vars(self).update(code=code, reason=reason)  # which are the class's for every other error


_CLASSES: tuple[type[ApiError], ...] = (
    BadRequestError,
    UnauthorizedError,
    ForbiddenError,
    NotFoundError,
    MethodNotAllowedError,
    NotAcceptableError,
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    TooLargeError,
    UnsupportedMediaTypeError,
    InvalidError,
    TooManyRequestsError,
    InternalError,
    ServiceUnavailableError,
    TimeoutError,
)
_BY_REASON: Mapping[str, type[ApiError]] = {kind.reason: kind for kind in _CLASSES}
_BY_CODE: Mapping[int, type[ApiError]] = {kind.code: kind for kind in _CLASSES if kind is not AlreadyExistsError}
