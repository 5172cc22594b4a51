from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.objects.meta import LabelSelector, SelectorRequirement
from orch.selectors import EVERYTHING, NOTHING, Requirement, Selector, from_label_selector, from_labels
from orch.selectors import parse_label_selector as parse

NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("", ()),
        ("  ", ()),
        ("a=b", (Requirement("a", "=", ("b",)),)),
        ("a==b", (Requirement("a", "==", ("b",)),)),
        ("a != b", (Requirement("a", "!=", ("b",)),)),
        ("a=", (Requirement("a", "=", ("",)),)),
        ("a=,b", (Requirement("a", "=", ("",)), Requirement("b", "exists"))),
        ("g", (Requirement("g", "exists"),)),
        ("!h", (Requirement("h", "!"),)),
        ("! h", (Requirement("h", "!"),)),
        ("i>1,j<2", (Requirement("i", "gt", ("1",)), Requirement("j", "lt", ("2",)))),
        ("e in (y,x)", (Requirement("e", "in", ("x", "y")),)),
        ("e in(x)", (Requirement("e", "in", ("x",)),)),
        ("f notin ()", (Requirement("f", "notin", ("",)),)),
        ("f in (,)", (Requirement("f", "in", ("",)),)),
        ("f in (a,,b)", (Requirement("f", "in", ("", "a", "b")),)),
        ("f in (a,)", (Requirement("f", "in", ("", "a")),)),
        ("f in (a,a)", (Requirement("f", "in", ("a",)),)),
        ("in in (in,notin)", (Requirement("in", "in", ("in", "notin")),)),
        ("x=in", (Requirement("x", "=", ("in",)),)),
        ("notin", (Requirement("notin", "exists"),)),
        ("z=1,a=2", (Requirement("a", "=", ("2",)), Requirement("z", "=", ("1",)))),
        ("\tkubernetes.io/os = linux \n", (Requirement("kubernetes.io/os", "=", ("linux",)),)),
    ],
)
def test_the_grammar(text: str, requirements: tuple[Requirement, ...]) -> None:
    assert parse(text) == Selector(requirements)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a=b,,c=d", "found ',', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a=(b)", "unable to parse requirement: found '(', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!!a", "unable to parse requirement: found '!', expected: identifier"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("-a=b", f'unable to parse requirement: <nil>: Invalid value: "-a": name part {NAME_RULE}'),
        ("/a", 'unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty'),
        (
            "a/",
            (
                'unable to parse requirement: <nil>: Invalid value: "a/": name part must be non-empty; '
                f"name part {NAME_RULE}"
            ),
        ),
        (
            "a/b/c",
            (
                f'unable to parse requirement: <nil>: Invalid value: "a/b/c": a qualified name {NAME_RULE} with an '
                "optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ),
        ),
        (
            "x" * 64,
            (
                f'unable to parse requirement: <nil>: Invalid value: "{"x" * 64}": name part must be no more than 63 '
                "characters"
            ),
        ),
        ("a=-b", f'unable to parse requirement: values[0][a]: Invalid value: "-b": {VALUE_RULE}'),
        (
            "a=" + "x" * 64,
            (
                f'unable to parse requirement: values[0][a]: Invalid value: "{"x" * 64}": must be no more than 63 '
                "characters"
            ),
        ),
        (
            "a>b",
            (
                'unable to parse requirement: values[0]: Invalid value: "b": '
                "for 'Gt', 'Lt' operators, the value must be an integer"
            ),
        ),
    ],
)
def test_what_is_no_selector_is_refused_in_kubernetes_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert str(caught.value) == message


def test_a_keys_prefix_must_be_a_dns_subdomain() -> None:
    with pytest.raises(ValueError, match="prefix part a lowercase RFC 1123 subdomain must consist of"):
        parse("A.B/c")


def test_an_exclamation_mark_before_a_comparison_has_no_meaning_as_in_kubernetes() -> None:
    assert parse("!a=b") == Selector((Requirement("a", "=", ("b",)),))


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b", "c": "d"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a=", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b,c)", {}, False),
        ("a notin (b,c)", {"a": "c"}, False),
        ("a notin (b,c)", {}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {"a": ""}, False),
        ("!a", {}, True),
        ("a>1", {"a": "2"}, True),
        ("a>1", {"a": "1"}, False),
        ("a>1", {"a": "x"}, False),
        ("a>1", {}, False),
        ("a<1", {"a": "-5"}, True),
        ("a<1", {"a": "9" * 19}, False),
        ("a=b,c!=d", {"a": "b", "c": "d"}, False),
    ],
)
def test_matching(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse(text).matches(labels) is matches


def test_an_absent_label_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert from_label_selector(None) is NOTHING
    assert not NOTHING.matches({})
    assert not NOTHING.everything
    assert from_label_selector(LabelSelector()) is EVERYTHING
    assert EVERYTHING.matches({"a": "b"})
    assert EVERYTHING.everything


def test_all_of_a_label_selector_must_hold() -> None:
    selector = from_label_selector(
        LabelSelector(
            match_labels={"app": "web"},
            match_expressions=(
                SelectorRequirement(key="tier", operator="In", values=("a", "b")),
                SelectorRequirement(key="old", operator="DoesNotExist"),
                SelectorRequirement(key="zone", operator="Exists"),
                SelectorRequirement(key="env", operator="NotIn", values=("dev",)),
            ),
        )
    )
    good = {"app": "web", "tier": "a", "zone": "z"}
    assert selector.matches(good)
    assert str(selector) == "app=web,env notin (dev),!old,tier in (a,b),zone"
    for bad in ({"app": "x"}, {"tier": "c"}, {"old": ""}, {"env": "dev"}):
        assert not selector.matches({**good, **bad})
    assert selector.exact("app") == "web"
    assert selector.exact("tier") is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (SelectorRequirement(key="a", operator="Gt"), '"Gt" is not a valid label selector operator'),
        (
            SelectorRequirement(key="a", operator="In"),
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            SelectorRequirement(key="a", operator="Exists", values=("x",)),
            'values: Invalid value: ["x"]: values set must be empty for exists and does not exist',
        ),
    ],
)
def test_bad_expressions(expression: SelectorRequirement, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        from_label_selector(LabelSelector(match_expressions=(expression,)))
    assert str(caught.value) == message


def test_several_problems_are_listed() -> None:
    with pytest.raises(ValueError, match=r"^\[key: Invalid value: .*, values\[0\]\[-\]: Invalid value: .*\]$"):
        from_label_selector(LabelSelector(match_labels={"-": "-"}))


names = st.from_regex(r"[a-c]", fullmatch=True)
values = st.from_regex(r"[a-c0-9]?", fullmatch=True)
requirements = st.one_of(
    st.builds(lambda key, op, value: Requirement(key, op, (value,)), names, st.sampled_from(["=", "==", "!="]), values),
    st.builds(
        lambda key, op, found: Requirement(key, op, tuple(sorted(found))),
        names,
        st.sampled_from(["in", "notin"]),
        st.sets(values, min_size=1, max_size=3),
    ),
    st.builds(Requirement, names, st.sampled_from(["exists", "!"])),
    st.builds(
        lambda key, op, number: Requirement(key, op, (str(number),)),
        names,
        st.sampled_from(["gt", "lt"]),
        st.integers(0, 9),
    ),
)
label_maps = st.dictionaries(names, values)


def oracle(requirement: Requirement, labels: dict[str, str]) -> bool:
    present, value = requirement.key in labels, labels.get(requirement.key, "")
    number = int(value) if value.isdecimal() else None
    return {
        "=": present and value == requirement.values[:1][0] if requirement.values else False,
        "==": present and value in requirement.values,
        "in": present and value in requirement.values,
        "!=": not (present and value in requirement.values),
        "notin": not (present and value in requirement.values),
        "exists": present,
        "!": not present,
        "gt": number is not None and requirement.operator == "gt" and number > int(requirement.values[0]),
        "lt": number is not None and requirement.operator == "lt" and number < int(requirement.values[0]),
    }[requirement.operator]


@given(st.lists(requirements, max_size=4), label_maps)
def test_matching_agrees_with_a_plain_reading(wanted: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(sorted(wanted, key=lambda each: each.key)))
    assert selector.matches(labels) == all(oracle(each, labels) for each in wanted)


@given(st.lists(requirements, max_size=4))
def test_a_selectors_text_parses_to_itself(wanted: list[Requirement]) -> None:
    selector = Selector(tuple(sorted(wanted, key=lambda each: each.key)))
    assert parse(str(selector)) == selector


@given(label_maps, label_maps)
def test_a_selector_from_labels_asks_for_all_of_them(wanted: dict[str, str], labels: dict[str, str]) -> None:
    assert from_labels(wanted).matches(labels) == (wanted.items() <= labels.items())


@given(st.text(alphabet="ab=!()<>, in.-/", max_size=20))
def test_any_text_is_a_selector_or_a_value_error(text: str) -> None:
    problem = ""
    try:
        parse(text)
    except ValueError as error:
        problem = str(error)
    assert not problem or problem.startswith(("found", "unable to parse requirement"))
