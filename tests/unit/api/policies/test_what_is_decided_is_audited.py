"""What policies and webhooks leave in the audit event of a request."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certificates
import pytest
from asgi import ADMIN, Connection
from https_server import https_server
from policies import Governed, validating
from webhook_server import AdmissionServer, add, configuration, patch

from orch_api.config import ApiConfig
from orch_api.http.audit_log import event_of
from orch_api.memory import in_memory_api
from orch_api.site import application


class Kept:
    def __init__(self) -> None:
        self.records: list[Any] = []

    def put(self, record: Any) -> None:
        self.records.append(record)

    def last(self) -> Any:
        """Return the annotations of the last event, without the authorizer's."""
        found = json.loads(event_of(self.records[-1]))["annotations"]
        return {key: value for key, value in found.items() if not key.startswith("authorization.k8s.io/")}


@pytest.fixture
async def audited(tmp_path: Path) -> AsyncIterator[tuple[Governed, Kept]]:
    audit = tmp_path / "audit.yaml"
    audit.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
    kept = Kept()
    config = ApiConfig(audit_policy_file=str(audit))
    async with in_memory_api(config=config) as memory:
        yield Governed(memory, Connection(application(memory.core, config, [kept]), ADMIN)), kept


async def test_policies(audited: tuple[Governed, Kept]) -> None:
    api, kept = audited
    told = [
        {"key": "size", "valueExpression": "'size ' + string(object.data.size())"},
        {"key": "none", "valueExpression": "null"},
        {"key": "blank", "valueExpression": "'  '"},
    ]
    await api.bound(validating("p", "object.data.size() > 1", auditAnnotations=told), "Audit")
    assert (await api.make(data={"a": ""})).status == 201
    found = kept.last()
    failure = json.loads(found.pop("validation.policy.admission.k8s.io/validation_failure"))
    assert failure == [
        {
            "message": "failed expression: object.data.size() > 1",
            "policy": "p",
            "binding": "p",
            "expressionIndex": 0,
            "validationActions": ["Audit"],
        }
    ]
    assert found == {"p/size": "size 1"}
    await api.bound(validating("q", "false", auditAnnotations=[{"key": "k", "valueExpression": "'refused'"}]))
    assert (await api.make("b", data={"a": "", "b": ""})).status == 422
    assert kept.last() == {"p/size": "size 2", "q/k": "refused"}, "refusals are audited, too"


async def test_webhooks(audited: tuple[Governed, Kept], tmp_path: Path) -> None:
    api, kept = audited
    server = AdmissionServer(certificates.make(tmp_path))
    async with https_server(server.files, server) as server.port:
        server.answers["/m"] = patch(add("/data", {"password": "x"}), auditAnnotations={"seen": "yes"})
        server.answers["/v"] = {"allowed": False, "auditAnnotations": {"why": "no"}}
        closed = server.hook(
            "/x", "open.example.com", failurePolicy="Ignore", clientConfig={"url": "https://127.0.0.1:9/"}
        )
        await api.put(configuration("Mutating", server.hook("/m"), closed))
        assert (await api.make()).status == 201
        found = kept.last()
        assert found.pop("hook.example.com/seen") == "yes"
        assert json.loads(found.pop("mutation.webhook.admission.k8s.io/round_0_index_0"))["mutated"] is True
        assert json.loads(found.pop("mutation.webhook.admission.k8s.io/round_0_index_1"))["mutated"] is False
        assert found == {"failed-open.mutation.webhook.admission.k8s.io/round_0_index_1": "open.example.com"}
        await api.put(configuration("Validating", server.hook("/v")))
        assert (await api.make("b")).status == 400
        assert kept.last()["hook.example.com/why"] == "no"
