"""What a Secret is written with is read by the api alone, whichever of its processes takes the request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_certificates import SERVER, Authority

from orch.bus import rpc
from orch.bus.memory import MemoryBroker
from orch.bus.permissions import API, CONTROLLERS, SCHEDULER, permissions_of
from orch.bus.sealed_requests import LIFETIME, ApiKeys, RequestKeys
from orch.bus.sealing import SealingKey
from orch.clock import ManualClock
from orch.config import NatsConfig
from orch.errors import BusError, UnavailableError
from orch.objects.scheme import SECRETS
from orch.runtime.client import BusClient
from orch_pb.v1 import rpc_pb2
from orch_pb.v1.rpc_pb2 import ObjectRef, Recipient, WriteReply, WriteRequest

BODY = b'{"stringData":{"p":"planted"}}'


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "of the bus")


def identity(authority: Authority, user: str = API, **wrong: Any) -> NatsConfig:
    return NatsConfig(
        user=user, ca_file=str(authority.file), cert_file=authority.issue(user, lifetime=timedelta(days=1), **wrong)[1]
    )


def request(name: str = "s", verb: rpc_pb2.WriteVerb = rpc_pb2.UPDATE) -> WriteRequest:
    return WriteRequest(verb=verb, ref=ObjectRef(version="v1", resource="secrets", namespace="default", name=name))


def test_a_body_opens_for_its_own_request_in_every_process_that_is_known(authority: Authority) -> None:
    clock = ManualClock(datetime.now(UTC))
    first, second, unknown = (RequestKeys(identity(authority), clock) for _ in range(3))
    client = ApiKeys(str(authority.file), clock)
    sent = request()
    client.seal(CONTROLLERS, sent, BODY)
    assert first.open(CONTROLLERS, sent) is None
    assert not sent.sealed_body.content, "nothing is sent before there is a key"
    client.learn(first.recipient())
    client.learn(second.recipient())
    client.seal(CONTROLLERS, sent, BODY)
    assert b"planted" not in sent.SerializeToString()
    assert first.open(CONTROLLERS, sent) == second.open(CONTROLLERS, sent) == BODY
    assert unknown.open(CONTROLLERS, sent) is None

    moved = [(SCHEDULER, sent)]
    for other in (request("other"), request(verb=rpc_pb2.CREATE)):
        other.sealed_body.CopyFrom(sent.sealed_body)
        moved.append((CONTROLLERS, other))
    spoilt = WriteRequest.FromString(sent.SerializeToString())
    spoilt.sealed_body.content = spoilt.sealed_body.content[:-1] + b"?"
    moved.append((CONTROLLERS, spoilt))
    low = WriteRequest.FromString(sent.SerializeToString())
    low.sealed_body.keys[0].key = bytes(32)
    moved.append((CONTROLLERS, low))
    for user, wrong in moved:
        with pytest.raises(ValueError, match="was not sealed for this request"):
            first.open(user, wrong)
    plain = request()
    plain.body = BODY
    with pytest.raises(ValueError, match="has to be sealed"):
        first.open(CONTROLLERS, plain)


async def test_keys_are_made_anew_and_forgotten(authority: Authority) -> None:
    clock = ManualClock(datetime.now(UTC))
    keys, client = RequestKeys(identity(authority), clock), ApiKeys(str(authority.file), clock)
    client.learn(keys.recipient())
    sent = request()
    client.seal(CONTROLLERS, sent, BODY)
    await clock.advance(LIFETIME)
    renewed = keys.recipient()
    assert renewed.key not in {key.recipient for key in sent.sealed_body.keys}
    assert keys.open(CONTROLLERS, sent) == BODY, "what was on its way arrives"
    await clock.advance(LIFETIME / 2)
    assert keys.open(CONTROLLERS, sent) is None, "what was recorded is read no more, by nobody"
    client.seal(CONTROLLERS, sent, BODY)
    assert not sent.sealed_body.keys, "the client has forgotten the old key as well"
    anybody = ApiKeys("", clock)
    for _ in range(100):
        anybody.learn(RequestKeys(NatsConfig(), clock).recipient())
    anybody.seal(CONTROLLERS, sent, BODY)
    assert len(sent.sealed_body.keys) == 64, "what a client keeps is bounded"


def test_a_key_for_which_the_api_does_not_vouch_is_not_used(authority: Authority, tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    (tmp_path / "elsewhere").mkdir()
    foreign = Authority(tmp_path / "elsewhere", "of the bus")
    answers = SealingKey(identity(authority))  # the api's own word, but for another purpose
    swapped = RequestKeys(identity(authority), clock).recipient()
    swapped.key = RequestKeys(NatsConfig(), clock).recipient().key
    client = ApiKeys(str(authority.file), clock)
    for key, why in (
        (RequestKeys(NatsConfig(), clock).recipient(), "error parsing asn1"),
        (RequestKeys(identity(authority, CONTROLLERS), clock).recipient(), "has not signed"),
        (RequestKeys(identity(foreign), clock).recipient(), "not of the bus's authority"),
        (RequestKeys(identity(authority, purpose=SERVER), clock).recipient(), "not for clients"),
        (answers.recipient(), "has not signed"),
        (swapped, "has not signed"),
        (Recipient(key=bytes(32)), ""),
        (Recipient(), ""),
    ):
        with pytest.raises(BusError, match=f"no secrets are sent under the key that was answered: .*{why}"):
            client.learn(key)
    sent = request()
    client.seal(CONTROLLERS, sent, BODY)
    assert not sent.sealed_body.keys
    with pytest.raises(BusError, match="authority cannot be read"):
        ApiKeys(str(tmp_path / "none"), clock).learn(swapped)


class Processes:
    """The api's processes, which take requests in turn. What each has read is in `read`."""

    def __init__(self, makers: list[Callable[[], Recipient]], keys: list[RequestKeys]) -> None:
        self._makers = makers
        self._keys = keys
        self.asked: list[WriteRequest] = []
        self.read: list[bytes] = []

    async def write(self, user: str, request: WriteRequest) -> WriteReply:
        turn = len(self.asked) % len(self._keys)
        self.asked.append(request)
        body = self._keys[turn].open(user, request)
        if body is None:
            return WriteReply(api_key=self._makers[turn]())
        self.read.append(body)
        return WriteReply(json=b'{"metadata":{"name":"s"}}')


async def test_a_client_learns_the_keys_of_processes_as_it_meets_them(authority: Authority) -> None:
    clock = ManualClock(datetime.now(UTC))
    keys = [RequestKeys(identity(authority), clock) for _ in range(3)]
    api = Processes([each.recipient for each in keys], keys)
    broker = MemoryBroker(permissions=permissions_of)
    await rpc.serve(broker.connect(API), "write", WriteRequest, api.write)
    client = BusClient(broker.connect(CONTROLLERS), seal=SealingKey(identity(authority, CONTROLLERS), clock))
    for _ in range(2):
        await client.update(SECRETS, "default", "s", {"stringData": {"p": "planted"}})
    assert len(api.asked) == 5, "three lessons, then each of two requests at once"
    await client.delete(SECRETS, "default", "s")
    assert api.read[:2] == [BODY, BODY]
    assert all(b"planted" not in each.SerializeToString() for each in api.asked)
    await BusClient(broker.connect(CONTROLLERS)).delete(SECRETS, "default", "s")
    assert not api.asked[-1].body, "who cannot seal sends nothing"


async def test_an_api_that_never_knows_the_key_that_it_tells_is_given_up(authority: Authority) -> None:
    clock = ManualClock(datetime.now(UTC))
    known, other = RequestKeys(identity(authority), clock), RequestKeys(identity(authority), clock)
    api = Processes([other.recipient], [known])
    broker = MemoryBroker(permissions=permissions_of)
    await rpc.serve(broker.connect(API), "write", WriteRequest, api.write)
    client = BusClient(broker.connect(CONTROLLERS), seal=SealingKey(identity(authority, CONTROLLERS), clock))
    with pytest.raises(UnavailableError, match="none of 64 processes"):
        await client.update(SECRETS, "default", "s", {"stringData": {"p": "planted"}})
    assert api.read == []
