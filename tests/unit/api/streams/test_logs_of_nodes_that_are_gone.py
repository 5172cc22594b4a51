import zlib

import pytest

from orch.bus.subjects import log_subject
from orch_pb.v1 import logs_pb2

from .conftest import POD


@pytest.fixture
async def collected(api, pod):
    """What node n put on the bus of container a before it went."""
    bus = api.bus("system:node:n")
    uid = pod.metadata.uid
    for place, text in enumerate(("one", "two", "three")):
        lines = f"2026-01-01T00:00:0{place}.5+00:00 stdout F {text}\n".encode()
        piece = logs_pb2.LogPiece(file=7, offset=100 * place, size=len(lines), lines=zlib.compress(lines))
        await bus.append(log_subject("n", "default", "p", uid, "a", 0, f"{place}"), piece.SerializeToString())


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b"one\ntwo\nthree\n"),
        ("follow=true", b"one\ntwo\nthree\n"),
        ("tailLines=1&timestamps=true", b"2026-01-01T00:00:02.5Z three\n"),
        ("tailLines=0", b""),
        ("sinceTime=2026-01-01T00:00:01Z", b"two\nthree\n"),
        ("limitBytes=5", b"one\nt"),
    ],
)
async def test_what_was_collected_is_answered_with_a_warning(http, collected, query, body):
    answer = await http("GET", f"{POD}/log?container=a&{query}")
    assert (answer.status, answer.body) == (200, body)
    assert "node n does not answer" in answer.headers["warning"]
    assert "this is what was collected of the log before" in answer.headers["warning"]


async def test_nothing_collected_is_told_as_the_nodes_silence(http, collected):
    answer = await http("GET", f"{POD}/log?container=b")
    assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
    assert "node n does not answer" in answer.json["message"]


async def test_other_nodes_cannot_put_words_into_a_pods_mouth(http, api, pod):
    lines = b"2026-01-01T00:00:00Z stdout F forged\n"
    piece = logs_pb2.LogPiece(size=len(lines), lines=zlib.compress(lines)).SerializeToString()
    subject = log_subject("m", "default", "p", pod.metadata.uid, "a", 0, "1")
    await api.bus("system:node:m").append(subject, piece)
    assert (await http("GET", f"{POD}/log?container=a")).status == 503
