import pytest

from orch.errors import BadRequestError, MethodNotAllowedError
from orch_api.http.request import Target, flag, number, parse_path, parse_query, verb_of


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target("", "v1", "pods")),
        ("/api/v1/namespaces", Target("", "v1", "namespaces")),
        ("/api/v1/namespaces/a", Target("", "v1", "namespaces", name="a")),
        ("/api/v1/namespaces/a/status", Target("", "v1", "namespaces", name="a", subresource="status")),
        ("/api/v1/namespaces/a/finalize", Target("", "v1", "namespaces", name="a", subresource="finalize")),
        ("/api/v1/namespaces/a/pods", Target("", "v1", "pods", "a")),
        ("/api/v1/namespaces/a/status/b", Target("", "v1", "status", "a", "b")),
        ("/api/v1/namespaces/a/pods/p/log", Target("", "v1", "pods", "a", "p", "log")),
        ("/api/v1/nodes/n/proxy/x/y", Target("", "v1", "nodes", "", "n", "proxy", path="x/y")),
        ("/apis/apps/v1/deployments", Target("apps", "v1", "deployments")),
        ("/apis/apps/v1/namespaces/a/deployments/d/scale", Target("apps", "v1", "deployments", "a", "d", "scale")),
        ("/api/v1/watch/namespaces/a/pods/p", Target("", "v1", "pods", "a", "p", watch=True)),
        ("/api/v1", None),
        ("/apis/apps/v1", None),
        ("/apis/apps", None),
        ("/api/v1//pods", None),
        ("/version", None),
    ],
)
def test_paths(path, target):
    assert parse_path(path) == target


@pytest.mark.parametrize(
    ("method", "path", "query", "verb"),
    [
        ("GET", "/api/v1/pods", b"", "list"),
        ("GET", "/api/v1/pods", b"watch=1", "watch"),
        ("GET", "/api/v1/pods", b"watch", "watch"),
        ("GET", "/api/v1/pods", b"watch=false", "list"),
        ("GET", "/api/v1/watch/pods", b"", "watch"),
        ("GET", "/api/v1/nodes/n", b"", "get"),
        ("POST", "/api/v1/nodes", b"", "create"),
        ("PUT", "/api/v1/nodes/n", b"", "update"),
        ("PATCH", "/api/v1/nodes/n", b"", "patch"),
        ("DELETE", "/api/v1/nodes/n", b"", "delete"),
        ("DELETE", "/api/v1/nodes", b"", "deletecollection"),
    ],
)
def test_verbs(method, path, query, verb):
    assert verb_of(method, parse_path(path), parse_query(query)) == verb


def test_a_collection_cannot_be_put():
    with pytest.raises(MethodNotAllowedError):
        verb_of("PUT", parse_path("/api/v1/nodes"), {})


def test_parameters():
    query = parse_query(b"limit=5&command=a&command=b%20c&follow=true&x=&bad=1x")
    assert query["command"] == ["a", "b c"]
    assert flag(query, "follow")
    assert flag(query, "x")
    assert not flag(query, "absent")
    assert number(query, "limit") == 5
    assert number(query, "x") is None
    with pytest.raises(BadRequestError, match='parsing "1x": invalid syntax'):
        number(query, "bad")
