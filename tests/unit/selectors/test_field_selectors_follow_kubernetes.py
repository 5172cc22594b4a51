from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.selectors import parse_field_selector as parse


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        (",", ()),
        ("a=b", (("a", "=", "b"),)),
        ("a==b", (("a", "=", "b"),)),
        ("a!=b", (("a", "!=", "b"),)),
        ("spec.nodeName=", (("spec.nodeName", "=", ""),)),
        ("metadata.name=x,status.phase!=Failed", (("metadata.name", "=", "x"), ("status.phase", "!=", "Failed"))),
        (r"a=b\,c\=d\\", (("a", "=", "b,c=d\\"),)),
        (r"a=b\\,c=d", (("a", "=", "b\\"), ("c", "=", "d"))),
        ("a=b!c", (("a", "=", "b!c"),)),
        ("=", ()),
    ],
)
def test_the_grammar(text: str, terms: tuple[tuple[str, str, str], ...]) -> None:
    assert parse(text) == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\n", r"invalid field selector: invalid escape sequence: \n"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_what_is_no_selector_is_refused_in_kubernetes_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert str(caught.value) == message


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b.c"]), st.sampled_from(["=", "!="]), st.text(max_size=8)), max_size=3)
)
def test_escaped_values_come_back_whole(terms: list[tuple[str, str, str]]) -> None:
    def escape(value: str) -> str:
        return value.replace("\\", r"\\").replace(",", r"\,").replace("=", r"\=")

    text = ",".join(f"{path}{operator}{escape(value)}" for path, operator, value in terms)
    assert parse(text) == tuple(terms)
