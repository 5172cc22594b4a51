"""Watches as browsers ask for them: over a WebSocket, with the token among the protocols."""

import asyncio
import base64
import json

import pytest
from asgi import ADMIN

from orch_api.auth.identity import Caller
from orch_api.http.server import PEER

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"
BINARY = "base64.binary.k8s.io"
BEARER = "base64url.bearer.authorization.k8s.io."


def config_map(name, **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


class Browser:
    """A WebSocket to the application."""

    def __init__(self, app, url, protocols=(), peer=ADMIN, **headers):
        path, _, query = url.partition("?")
        self.scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "subprotocols": list(protocols),
            "client": ("127.0.0.1", 1),
            PEER: peer,
        }
        self.incoming = asyncio.Queue()
        self.sent = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.running = asyncio.ensure_future(app(self.scope, self.incoming.get, self.sent.put))

    async def message(self):
        async with asyncio.timeout(10):
            return await self.sent.get()

    async def event(self):
        """Return the next event's type and object."""
        message = await self.message()
        assert message["type"] == "websocket.send", message
        event = json.loads(message["text"])
        return event["type"], event["object"]

    async def refusal(self):
        """Return the Status of a refusal."""
        start, body = await self.message(), await self.message()
        assert start["type"] == "websocket.http.response.start", start
        status = json.loads(body["body"])
        assert status["code"] == start["status"]
        return status

    async def leave(self):
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
        async with asyncio.timeout(10):
            await self.running


@pytest.mark.parametrize("protocols", [(), (BINARY,), ("anything",)])
async def test_each_event_is_a_message(app, http, protocols):
    for name in ("a", "b"):
        await http("POST", MAPS, config_map(name))
    browser = Browser(app, f"{MAPS}?watch=true", protocols)
    accepted = await browser.message()
    assert accepted["type"] == "websocket.accept"
    assert accepted["subprotocol"] == (protocols[0] if protocols else None)
    assert "audit-id" in {name.decode() for name, _ in accepted["headers"]}
    for name in ("a", "b"):
        kind, found = await browser.event()
        assert (kind, found["metadata"]["name"]) == ("ADDED", name)
    browser.incoming.put_nowait({"type": "websocket.receive", "text": "what is said is not looked at"})
    await http("DELETE", f"{MAPS}/a")
    kind, found = await browser.event()
    assert (kind, found["metadata"]["name"]) == ("DELETED", "a")
    await browser.leave()


async def test_a_streaming_list_and_selectors(app, http):
    await http("POST", MAPS, config_map("a"))
    await http("POST", MAPS, config_map("b"))
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    browser = Browser(app, f"{MAPS}?{query}&fieldSelector=metadata.name%3Db")
    await browser.message()
    assert (await browser.event())[1]["metadata"]["name"] == "b"
    kind, found = await browser.event()
    assert (kind, found["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
    await browser.leave()


async def test_protobuf_comes_as_binary(app, http):
    await http("POST", MAPS, config_map("a"))
    await http("POST", MAPS, config_map("b"))
    browser = Browser(app, f"{MAPS}?watch=1", accept="application/vnd.kubernetes.protobuf;stream=watch")
    await browser.message()
    for name in (b"a", b"b"):
        message = await browser.message()
        assert message["bytes"].startswith(b"k8s\x00") or b"ADDED" in message["bytes"]
        assert name in message["bytes"]
    await browser.leave()


async def test_it_ends_after_its_timeout(app):
    browser = Browser(app, f"{MAPS}?watch=1&timeoutSeconds=1")
    await browser.message()
    assert await browser.message() == {"type": "websocket.close", "code": 1000}
    async with asyncio.timeout(10):
        await browser.running


@pytest.mark.parametrize(
    ("url", "peer", "code", "reason"),
    [
        (f"{MAPS}?watch=1", None, 403, "Forbidden"),
        ("/api/v1/namespaces/default/nothing?watch=1", ADMIN, 404, "NotFound"),
        (f"{MAPS}?watch=1&resourceVersion=new", ADMIN, 400, "BadRequest"),
        (f"{MAPS}?watch=1&sendInitialEvents=true", ADMIN, 422, "Invalid"),
    ],
)
async def test_a_refusal_is_a_common_answer(app, url, peer, code, reason):
    browser = Browser(app, url, peer=peer)
    status = await browser.refusal()
    assert (status["code"], status["reason"]) == (code, reason)
    await browser.running


async def test_a_client_that_leaves_gives_its_place_free(app, figures, eventually):
    browser = Browser(app, f"{MAPS}?watch=1")
    await browser.message()
    watches = [labels async for labels in open_watches(figures)]
    assert len(watches) == 1
    await browser.leave()
    assert [labels async for labels in open_watches(figures)] == []


async def open_watches(figures):
    for labels, number in (await figures("apiserver_longrunning_requests")).items():
        if number and ("verb", "WATCH") in labels:
            yield labels


@pytest.fixture
def robot(api, monkeypatch):
    """Let a token be known."""
    known = Caller("robot", ("system:masters", "system:authenticated"))
    identify = api.core.authenticator.identify

    async def by_token(presented):
        return known if presented.authorization == "Bearer secret\u00e9" else await identify(presented)

    monkeypatch.setattr(api.core.authenticator, "identify", by_token)
    return base64.urlsafe_b64encode("secret\u00e9".encode()).rstrip(b"=").decode()


async def test_a_token_among_the_protocols(app, robot):
    browser = Browser(app, f"{MAPS}?watch=1", (f"{BEARER}{robot}", BINARY), peer=None)
    assert (await browser.message())["subprotocol"] == BINARY
    await browser.leave()


@pytest.mark.parametrize("protocols", [("{}",), ("{}", "{}", BINARY), (f"{BEARER}%%", BINARY), (f"{BEARER}_w", BINARY)])
async def test_tokens_that_cannot_be_taken(app, robot, protocols):
    offered = [protocol.format(f"{BEARER}{robot}") for protocol in protocols]
    browser = Browser(app, f"{MAPS}?watch=1", offered, peer=None)
    assert (await browser.refusal())["reason"] == "Unauthorized"
