"""ServiceAccount: every pod runs as an account of its namespace, and finds its token where programs look for one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from orch.clock import Clock
from orch.store.keys import ObjectKey
from orch_api.admission.chain import CREATE, UPDATE, Plugin, Request, Rule
from orch_api.admission.refusals import refused
from orch_api.kinds.ephemeral_containers import MIRROR_ANNOTATION
from orch_api.storage.cache import Cached, ObjectCache
from orch_api.strategy import Document, put_section, section

MOUNT_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX: Final = "kube-api-access-"
ENFORCED: Final = "kubernetes.io/enforce-mountable-secrets"

_DEFAULT: Final = "default"
_ROOT_CA: Final = "kube-root-ca.crt"
_LIFETIME: Final = 3607
"""Seconds for which such a token is asked; the odd number tells the issuer that programs may hold on to it."""
_FILE_MODE: Final = 0o644
_ATTEMPTS: Final = 10
_PAUSE: Final = 0.15
"""Between looks for an account that a controller is about to create; Kubernetes waits 0.1 to 0.2 s."""
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_REMEMBERED: Final = 1024
_KINDS: Final = (("initContainers", "init container"), ("containers", "container"))


class _Name(msgspec.Struct, gc=False, frozen=True):
    name: str = ""


class _Metadata(msgspec.Struct, gc=False, frozen=True):
    uid: str = ""
    annotations: dict[str, str] | None = None


class _Account(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """What pods take over of their account."""

    metadata: _Metadata = _Metadata()
    automount_service_account_token: bool | None = None
    image_pull_secrets: tuple[_Name, ...] | None = None
    secrets: tuple[_Name, ...] | None = None


_decode = msgspec.json.Decoder(_Account).decode


class _Known(msgspec.Struct, gc=False, frozen=True):
    """An account, and under which name its token is mounted.

    The name is the same for all pods of an account, unlike in Kubernetes, where it is drawn: so pods of one template
    have one spec, which is judged once.
    """

    account: _Account
    volume: str


class ServiceAccount(Plugin):
    """Sets the account of pods, mounts its token and hands on its pull secrets."""

    name: ClassVar = "ServiceAccount"
    mutates: ClassVar = (Rule((CREATE,), ("pods",)),)
    validates: ClassVar = (Rule((CREATE,), ("pods",)), Rule((UPDATE,), ("pods/ephemeralcontainers",)))

    def __init__(self, cache: ObjectCache, clock: Clock) -> None:
        self._cache = cache
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[Cached, _Known]] = {}

    async def mutate(self, request: Request) -> None:
        """Fill in what the account says. Raises ForbiddenError when there is none."""
        pod = request.document
        if pod is None or _is_mirror(pod):
            return
        spec = put_section(pod, "spec")
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = spec["serviceAccount"] = _DEFAULT
        known = await self._account(request, spec["serviceAccountName"])
        account = known.account
        if _is_mounted(account, spec):
            _mount(spec, known.volume)
        if not spec.get("imagePullSecrets") and account.image_pull_secrets:
            spec["imagePullSecrets"] = [{"name": one.name} for one in account.image_pull_secrets]

    async def validate(self, request: Request) -> None:
        """Look at the account again, and at the Secrets that it lets its pods refer to. Raises ForbiddenError."""
        pod = request.document or {}
        spec = section(pod, "spec")
        if _is_mirror(pod):
            if problem := next(_mirror_problems(spec), ""):
                raise refused(request, problem)
            return
        name: str = spec.get("serviceAccountName") or ""
        if not name:
            raise refused(request, f"no service account specified for pod {request.namespace}/{request.name}")
        account = (await self._account(request, name)).account
        if (account.metadata.annotations or {}).get(ENFORCED, "").lower() == "true":
            problem = next(_secret_problems(spec, name, account), "")
            if problem:
                raise refused(request, problem)

    async def _account(self, request: Request, name: str) -> _Known:
        """Return an account. That a namespace's default one comes a moment after the namespace is waited for."""
        key = ObjectKey("", "serviceaccounts", request.namespace, name)
        found = self._cache.get(key)
        if found is None:
            await self._cache.catch_up()
            found = self._cache.get(key)
        for _ in range(_ATTEMPTS - 1 if name == _DEFAULT else 0):
            if found is not None:
                break
            await self._clock.sleep(_PAUSE)
            found = self._cache.get(key)
        if found is None:
            problem = f'serviceaccount "{name}" not found'
            raise refused(request, f"error looking up service account {request.namespace}/{name}: {problem}")
        return self._read(found)

    def _read(self, item: Cached) -> _Known:
        key = (item.key.namespace, item.key.name)
        known = self._known.get(key)
        if known is None or known[0] is not item:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            account = _decode(item.json)
            known = self._known[key] = (item, _Known(account, _volume_name(account.metadata.uid)))
        return known[1]


def _volume_name(uid: str) -> str:
    """Return the name of the volume with an account's token."""
    digest = hashlib.blake2b(uid.encode(), digest_size=5).digest()
    return VOLUME_PREFIX + "".join(_ALPHABET[one % len(_ALPHABET)] for one in digest)


def _is_mirror(pod: Mapping[str, Any]) -> bool:
    return MIRROR_ANNOTATION in section(section(pod, "metadata"), "annotations")


def _is_mounted(account: _Account, spec: Document) -> bool:
    """Return whether a pod wants the token: as it says itself, or else as its account says."""
    own: bool | None = spec.get("automountServiceAccountToken")
    if own is not None:
        return own
    return account.automount_service_account_token is not False


def _mount(spec: Document, new: str) -> None:
    """Mount the token into all containers that have nothing there yet: in a volume of the name `new` unless it is."""
    volumes: list[Document] = spec.get("volumes") or []
    name = next((one["name"] for one in volumes if (one.get("name") or "").startswith(VOLUME_PREFIX)), "")
    missing = not name
    name = name or new
    mounted = False
    for part, _ in _KINDS:
        for container in spec.get(part) or ():
            mounts: list[Document] = container.get("volumeMounts") or []
            if any(one.get("mountPath") == MOUNT_PATH for one in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            mounted = True
    if mounted and missing:
        spec["volumes"] = [*volumes, _volume(name)]


def _volume(name: str) -> Document:
    """Return the volume: a token that ends with the pod, whom to trust, and in which namespace it is."""
    sources: list[Document] = [
        {"serviceAccountToken": {"expirationSeconds": _LIFETIME, "path": "token"}},
        {"configMap": {"name": _ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]
            }
        },
    ]
    return {"name": name, "projected": {"defaultMode": _FILE_MODE, "sources": sources}}


def _mirror_problems(spec: Document) -> Iterator[str]:
    """Yield what of the cluster's a pod refers to that a node runs on its own."""
    if (spec.get("serviceAccountName") or _DEFAULT) != _DEFAULT:
        yield "a mirror pod may not reference service accounts"
    for volume in spec.get("volumes") or ():
        if volume.get("secret") is not None:
            yield "a mirror pod may not reference secrets"
        for source in section(volume, "projected").get("sources") or ():
            if source.get("serviceAccountToken") is not None:
                yield "a mirror pod may not use ServiceAccountToken volume projections"


def _secret_problems(spec: Document, name: str, account: _Account) -> Iterator[str]:
    """Yield which Secrets a pod refers to that its account does not list."""
    listed = {one.name for one in account.secrets or ()}
    why = f"is not allowed because service account {name} does not reference that"
    for volume in spec.get("volumes") or ():
        secret = section(volume, "secret").get("secretName")
        if secret and secret not in listed:
            yield f'volume with secret.secretName="{secret}" {why} secret'
    for part, kind in (*_KINDS, ("ephemeralContainers", "ephemeral container")):
        for container in spec.get(part) or ():
            for where, secret in _environment(container):
                if secret not in listed:
                    yield f'{kind} {container.get("name")} with {where} secret.secretName="{secret}" {why} secret'
    pull = {one.name for one in account.image_pull_secrets or ()}
    for index, reference in enumerate(spec.get("imagePullSecrets") or ()):
        if reference.get("name") not in pull:
            yield f'imagePullSecrets[{index}].name="{reference.get("name")}" {why} imagePullSecret'


def _environment(container: Document) -> Iterator[tuple[str, str]]:
    """Yield where a container's environment refers to a Secret, and to which."""
    for variable in container.get("env") or ():
        if secret := section(section(variable, "valueFrom"), "secretKeyRef").get("name"):
            yield f"envVar {variable.get('name')} referencing", secret
    for source in container.get("envFrom") or ():
        if secret := section(source, "secretRef").get("name"):
            yield "envFrom referencing", secret
