from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import BadRequestError
from orch.quoting import quote
from orch_api.schema import KindSchema
from orch_api.schema.syntax import syntax_error

PREFIX = (
    "the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; json parse error: "
)
TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "unexpected end of JSON input"),
        ("  ", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("{", "unexpected end of JSON input"),
        ('{"a":', "unexpected end of JSON input"),
        ('{"a"', "unexpected end of JSON input"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} {}", "invalid character '{' after top-level value"),
        ("01", "invalid character '1' after top-level value"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+", "unexpected end of JSON input"),
        ("[1ex]", "invalid character 'x' in exponent of numeric literal"),
        ("trug", "invalid character 'g' in literal true (expecting 'e')"),
        ("nul", "unexpected end of JSON input"),
        ('"a\nb"', "invalid character '\\n' in string literal"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('"\\u12G4"', "invalid character 'G' in \\u hexadecimal character escape"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
        ('{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        ("\x00", "invalid character '\\x00' looking for beginning of value"),
        ("\ufeff{}", "invalid character 'ï' looking for beginning of value"),
    ],
)
def test_the_fault_is_worded_as_by_go(deployment: KindSchema, text: str, problem: str) -> None:
    assert syntax_error(text.encode()) == problem
    with pytest.raises(BadRequestError) as refused:
        deployment.decode(text.encode())
    assert refused.value.message.startswith(PREFIX + problem + " (")


@settings(deadline=None)
@given(st.one_of(st.text(alphabet='{}[]":,\\ \n0123456789.eE+-truefalsn/ux', max_size=40), st.text(max_size=20)))
def test_what_is_called_malformed_is_so(text: str) -> None:
    data = text.encode()
    try:
        json.loads(data.decode("latin-1"), parse_constant=lambda name: float("not " + name))
    except ValueError:
        assert syntax_error(data) is not None
    else:
        assert syntax_error(data) is None


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_json_is_not_called_malformed(value: object) -> None:
    assert syntax_error(json.dumps(value).encode()) is None
    assert syntax_error(json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")) is None


def test_the_body_is_shown_cut(deployment: KindSchema) -> None:
    for body, shown in (
        (b"", "(<empty>)"),
        (b"abc", "(616263)"),
        (b"{" + b" " * 40, "({" + " " * 29 + " ...)"),
        (
            b"kind: Deployment\nspec: {replicas: 1}",
            "(6b696e643a204465706c6f796d656e740a737065633a207b7265706c6963 ...)",
        ),
    ):
        with pytest.raises(BadRequestError) as refused:
            deployment.decode(body)
        assert refused.value.message.endswith(shown)


@pytest.mark.parametrize(("text", "name"), [("[]", "array"), ('"a"', "string"), ("1", "number"), ("true", "bool")])
def test_a_document_that_is_no_object_is_refused(deployment: KindSchema, text: str, name: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        deployment.decode(text.encode())
    assert refused.value.message.startswith(f"{PREFIX}json: cannot unmarshal {name} into Go value of type {TYPE_META}")


def test_null_is_an_empty_document(deployment: KindSchema) -> None:
    assert deployment.decode(b"null") == ({}, [])


def test_a_kind_that_is_no_text_is_refused(deployment: KindSchema) -> None:
    with pytest.raises(BadRequestError) as refused:
        deployment.decode(b'{"kind":5}')
    problem = "json: cannot unmarshal number into Go struct field .kind of type string"
    assert refused.value.message == f'{PREFIX}{problem} ({{"kind":5}})'


# How deep CPython and msgspec follow differs between versions; Kubernetes' limit of 10,000 is told below it as well.
@pytest.mark.parametrize("depth", [10_001, 300_000])
@pytest.mark.parametrize("start", [b'{"unknown":', b'{"metadata":{"managedFields":[{"fieldsV1":{"a":'])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_without_end_is_refused(
    secret: KindSchema, depth: int, start: bytes, opening: bytes, closing: bytes
) -> None:
    ends = {b"{": b"}", b"[": b"]"}
    tail = b"".join(ends[start[at : at + 1]] for at in reversed(range(len(start))) if start[at : at + 1] in ends)
    body = start + opening * depth + b"1" + closing * depth + tail
    with pytest.raises(BadRequestError, match="exceeded max depth"):
        secret.decode(body)


def test_a_patched_document_nested_without_end_is_refused(secret: KindSchema) -> None:
    value: dict[str, object] = {}
    for _ in range(300_000):
        value = {"a": value}
    with pytest.raises(BadRequestError, match="exceeded max depth"):
        secret.convert({"metadata": {"managedFields": [{"fieldsV1": value}]}})


def test_bytes_that_are_no_text_are_replaced(secret: KindSchema) -> None:
    assert secret.decode(b'{"metadata":{"name":"\xff"}}')[0] == {"metadata": {"name": "\ufffd"}}
    assert secret.decode(b'{"metadata":{"name":"\\ud800x"}}')[0] == {"metadata": {"name": "\ufffdx"}}


@pytest.mark.parametrize(
    ("text", "quoted"),
    [('a"b', r'"a\"b"'), ("a\tb", r'"a\tb"'), ("\x01\x7f", r'"\x01\x7f"'), ("é\u200b", '"é\\u200b"')],
)
def test_quoting_is_as_go_does_it(text: str, quoted: str) -> None:
    assert quote(text) == quoted
