from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from orch.runtime import probe


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def exit_code(*arguments: str) -> object:
    with pytest.raises(SystemExit) as end:
        probe.main(list(arguments))
    return end.value.code


def test_an_answer_is_well(address: str) -> None:
    assert exit_code(f"{address}/well") == 0


def test_a_refusal_is_not(address: str) -> None:
    assert exit_code(f"{address}/ill") == f"{address}/ill: HTTP Error 503: Service Unavailable"


def test_neither_is_silence(address: str) -> None:
    assert "refused" in str(exit_code("http://127.0.0.1:1/"))


def test_only_http_is_spoken(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("file:///etc/hostname") == 2
    assert "expected an http or https address" in capsys.readouterr().err
