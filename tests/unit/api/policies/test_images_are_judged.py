"""The image policy: patterns, digests, cosign's signatures in a registry, and the record of what was refused."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from asgi import ADMIN, Connection
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from https_server import Asked, https_server

from orch.clock import ManualClock
from orch.errors import ConfigError
from orch_api.admission.configuration import NOTHING_GIVEN, Given
from orch_api.admission.images.configured import Policy, read
from orch_api.admission.images.policy import DECISIONS, ImagePolicies
from orch_api.admission.images.references import parse
from orch_api.config import ApiConfig
from orch_api.extensions.outgoing import Guard, guard
from orch_api.http.audit_log import event_of
from orch_api.memory import in_memory_api
from orch_api.site import application

PODS = "/api/v1/namespaces/{}/pods"
HEX = "a" * 64
DIGEST = f"sha256:{HEX}"
LOCAL = guard(("127.0.0.0/8",), ())


def policy(content: dict[str, Any]) -> Policy:
    found = read(Given(content, "policy"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "name", "tag", "digest"),
    [
        ("nginx", "docker.io/library/nginx", "", ""),
        ("nginx:1.27", "docker.io/library/nginx", "1.27", ""),
        ("acme/app", "docker.io/acme/app", "", ""),
        ("index.docker.io/nginx", "docker.io/library/nginx", "", ""),
        ("registry.example.com/team/app:v1", "registry.example.com/team/app", "v1", ""),
        ("REGISTRY.example.com:5000/app", "registry.example.com:5000/app", "", ""),
        ("localhost/app", "localhost/app", "", ""),
        (f"ghcr.io/a/b@{DIGEST}", "ghcr.io/a/b", "", DIGEST),
        (f"ghcr.io/a/b:v1@{DIGEST}", "ghcr.io/a/b", "v1", DIGEST),
        (f"[::1]:5000/a@{DIGEST}", "[::1]:5000/a", "", DIGEST),
    ],
)
def test_names_are_written_out(text: str, name: str, tag: str, digest: str) -> None:
    found = parse(text)
    assert (found.name, found.tag, found.digest) == (name, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Upper",
        "a//b",
        "a/../b",
        "/a",
        "a:",
        "a@sha256:1",
        f"a@md5:{HEX}",
        "a b",
        "a\n",
        "evil.com/a\x00",
        "x" * 600,
    ],
)
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="reference"):
        parse(text)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"rules": [{"images": []}]}, r"rules\[0\].images: is empty"),
        ({"rules": [{"images": ["a"], "keys": [{}]}]}, r"rules\[0\].keys\[0\]: needs either pem or file"),
        ({"rules": [{"images": ["a"], "keys": [{"pem": "x"}]}]}, "cannot be read as a public key"),
        ({"rules": [{"images": ["a"], "action": "Deny", "requireDigest": True}]}, "Deny asks for neither"),
        ({"rule": []}, "rule"),
        ({"timeoutSeconds": 90}, "must be between 1 and 30"),
    ],
)
def test_files_that_cannot_be_used(content: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        policy(content)
    assert read(NOTHING_GIVEN) is None


class Registry:
    """A registry with one signature of one image, which asks for a token first."""

    def __init__(self, files: certificates.Files) -> None:
        self.files = files
        self.port = 0
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.digest = DIGEST
        self.kind = "cosign container image signature"
        self.asked: list[str] = []
        self.break_blob = False
        self.status = 200
        self.answer: Any = None

    @property
    def pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __call__(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked.target)
        payload = {"critical": {"type": self.kind, "image": {"docker-manifest-digest": self.digest}}}
        signature = base64.b64encode(self.key.sign(json.dumps(payload).encode(), ec.ECDSA(SHA256()))).decode()
        digest = f"sha256:{hashlib.sha256(json.dumps(payload).encode()).hexdigest()}"
        if self.answer is not None:
            return self.status, self.answer
        if asked.target.endswith(".sig"):
            layer = {
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": digest,
                "annotations": {"dev.cosignproject.cosign/signature": signature},
            }
            return self.status, {"layers": [layer]}
        return 200, {"other": 1} if self.break_blob else payload


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    found = Registry(certificates.make(tmp_path))
    async with https_server(found.files, found) as found.port:
        yield found


def signed(registry: Registry, guarding: Guard = LOCAL, **more: Any) -> ImagePolicies:
    """Return a policy for which the registry's images have to be signed by its key."""
    rule = {"images": [f"{registry.name}/**"], "keys": [{"pem": registry.pem}]}
    settings = {registry.name: {"caFile": registry.files.ca}}
    return ImagePolicies(policy({"rules": [rule], "registries": settings, **more}), guarding, ManualClock())


async def judged(plugin: ImagePolicies, image: str) -> str:
    assert plugin._policy is not None
    return (await plugin._judge(plugin._policy, image))[1]


async def test_patterns_and_digests() -> None:
    rules = [
        {"images": ["docker.io/library/evil*"], "action": "Deny"},
        {"images": ["docker.io/library/*"]},
        {"images": ["ghcr.io/acme/**"], "requireDigest": True},
    ]
    plugin = ImagePolicies(policy({"rules": rules}), LOCAL, ManualClock())
    assert await judged(plugin, "nginx:1") == ""
    assert await judged(plugin, "evil-twin") == "rule 0 denies it"
    assert await judged(plugin, "acme/app") == "no rule allows it"
    assert await judged(plugin, "ghcr.io/acme/deep/down:v1") == "it has to be named by its digest"
    assert await judged(plugin, f"ghcr.io/acme/deep/down@{DIGEST}") == ""
    assert await judged(plugin, "ghcr.io.evil.com/acme/a") == "no rule allows it"
    assert await judged(plugin, "a b") == "invalid reference format"


async def test_an_image_that_is_signed(registry: Registry) -> None:
    plugin = signed(registry)
    image = f"{registry.name}/team/app@{DIGEST}"
    assert await judged(plugin, image) == ""
    assert registry.asked[0] == f"/v2/team/app/manifests/sha256-{HEX}.sig"
    asked = len(registry.asked)
    assert await judged(plugin, image) == ""
    assert len(registry.asked) == asked, "what was found out counts for a while"
    assert await judged(plugin, f"{registry.name}/team/app:v1") == "it has to be named by its digest"


async def test_signatures_that_do_not_count(registry: Registry) -> None:
    image = f"{registry.name}/team/app@{DIGEST}"
    wrong = "none of its signatures is by a key that is asked for"
    plugin = signed(registry)
    registry.key = ec.generate_private_key(ec.SECP256R1())
    assert await judged(plugin, image) == wrong
    plugin = signed(registry)
    registry.digest = f"sha256:{'b' * 64}"
    assert await judged(plugin, image) == wrong, "a signature of another image"
    registry.digest, registry.kind = DIGEST, "something else"
    assert await judged(signed(registry), image) == wrong
    registry.break_blob = True
    assert "instead of sha256:" in await judged(signed(registry), image)
    registry.status, registry.answer = 404, {}
    assert await judged(signed(registry), image) == "it has no signatures"
    registry.status, registry.answer = 200, {"layers": []}
    assert await judged(signed(registry), image) == "it has no signatures"


async def test_registries_that_do_not_answer_as_they_should(registry: Registry) -> None:
    image = f"{registry.name}/team/app@{DIGEST}"
    registry.answer = {"layers": [{"mediaType": "x" * (2 << 20)}]}
    assert "the answer is longer than" in await judged(signed(registry), image)
    registry.status, registry.answer = 500, {}
    assert "the status code 500" in await judged(signed(registry), image)
    registry.status = 401
    assert "it asks for credentials that nobody configured" in await judged(signed(registry), image)
    closed = Guard()
    assert "a loopback address may not be reached" in await judged(signed(registry, closed), image)
    assert await judged(signed(registry, closed, whenUnreachable="Allow"), image) == ""


class PlainRegistry:
    """A registry over plain HTTP that wants a token of its own and keeps blobs at another path."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.port = 0
        self.asked: list[str] = []
        self.elsewhere = ""
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split(" ")[1]
        self.asked.append(target)
        status, headers, body = self._answer(target, "authorization: bearer t" in head.lower())
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body)
        await writer.drain()
        writer.close()

    def _answer(self, target: str, shown: bool) -> tuple[int, str, bytes]:
        payload = {
            "critical": {"type": "cosign container image signature", "image": {"docker-manifest-digest": DIGEST}}
        }
        content = json.dumps(payload).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        signature = base64.b64encode(self.key.sign(content, ec.ECDSA(SHA256()))).decode()
        kind = "application/vnd.dev.cosign.simplesigning.v1+json"
        layer = {"mediaType": kind, "digest": digest, "annotations": {"dev.cosignproject.cosign/signature": signature}}
        if target.startswith("/token"):
            return 200, "", b'{"token": "t"}'
        if target == "/kept":
            return (400, "", b"") if shown else (200, "", content)
        if not shown:
            realm = f'www-authenticate: Bearer realm="http://{self.name}/token",service="s",scope="x"\r\n'
            return 401, realm, b""
        if target.endswith(".sig"):
            return 200, "", json.dumps({"layers": [layer]}).encode()
        return 307, f"location: {self.elsewhere or f'http://{self.name}/kept'}\r\n", b""


async def test_a_registry_that_wants_a_token_and_keeps_blobs_elsewhere() -> None:
    registry = PlainRegistry()
    server = await asyncio.start_server(registry, "127.0.0.1", 0)
    registry.port = server.sockets[0].getsockname()[1]
    pem = registry.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    rule = {"images": ["**"], "keys": [{"pem": pem.decode()}]}
    content = {"rules": [rule], "registries": {registry.name: {"plainHTTP": True}}}
    image = f"{registry.name}/team/app@{DIGEST}"
    assert await judged(ImagePolicies(policy(content), LOCAL, ManualClock()), image) == ""
    assert registry.asked[1].startswith("/token?service=s&scope=repository%3Ateam%2Fapp%3Apull")
    assert registry.asked[-1] == "/kept", "where no credentials are shown"
    for elsewhere, problem in (
        ("http://169.254.169.254/latest", "a link-local address may not be reached"),
        ("ftp://127.0.0.1/x", "it redirects to a place without TLS"),
    ):
        registry.elsewhere = elsewhere
        assert problem in await judged(ImagePolicies(policy(content), LOCAL, ManualClock()), image)
    server.close()
    for writer in registry.writers:
        await writer.wait_closed()


class Kept:
    def __init__(self) -> None:
        self.records: list[Any] = []

    def put(self, record: Any) -> None:
        self.records.append(record)


async def test_what_is_refused_is_told_counted_and_audited(tmp_path: Path) -> None:
    file = tmp_path / "admission.yaml"
    content = {"rules": [{"images": ["docker.io/library/*"]}], "exemptNamespaces": ["kube-system"]}
    plugins = [{"name": "ImagePolicy", "configuration": content}]
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    file.write_text(json.dumps({**kind, "plugins": plugins}))
    audit = tmp_path / "audit.yaml"
    audit.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: None}]\n")
    config = ApiConfig(admission_control_config_file=str(file), audit_policy_file=str(audit))
    kept = Kept()
    async with in_memory_api(config=config) as memory:
        http = Connection(application(memory.core, config, [kept]), ADMIN)  # pyright: ignore[reportArgumentType]

        def pod(image: str, **spec: Any) -> dict[str, Any]:
            return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}

        before = DECISIONS.labels("deny", "default")._value.get()
        refused = await http("POST", PODS.format("default"), pod("evil.com/x"))
        reason = 'image "evil.com/x" of container "c" is not allowed: no rule allows it'
        assert (refused.status, refused.json["message"]) == (403, f'pods "p" is forbidden: {reason}')
        assert DECISIONS.labels("deny", "default")._value.get() == before + 1
        (event,) = [json.loads(event_of(one)) for one in kept.records]
        assert (event["level"], event["stage"]) == ("Metadata", "ResponseComplete")
        assert event["annotations"]["image-policy.orch.io/decision"] == "deny"
        assert event["annotations"]["image-policy.orch.io/reason"] == reason
        volume = {"volumes": [{"name": "v", "image": {"reference": "evil.com/v"}}]}
        answer = await http("POST", PODS.format("default"), pod("nginx", **volume))
        assert 'image "evil.com/v" of volume "v"' in answer.json["message"]
        assert (await http("POST", PODS.format("kube-system"), pod("evil.com/x"))).status == 201
        assert (await http("POST", PODS.format("default"), pod("nginx"))).status == 201
        change = {"spec": {"containers": [{"name": "c", "image": "evil.com/x"}]}}
        path = f"{PODS.format('default')}/p"
        strategic = {"content_type": "application/strategic-merge-patch+json"}
        assert "is not allowed" in (await http("PATCH", path, change, **strategic)).json["message"]
        extra = {"spec": {"ephemeralContainers": [{"name": "e", "image": "evil.com/x"}]}}
        answer = await http("PATCH", f"{path}/ephemeralcontainers", extra, **strategic)
        assert "is not allowed" in answer.json["message"]
        assert len(kept.records) == 4, "what was let pass is not recorded against the policy"
