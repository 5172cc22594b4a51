from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.quantity import Quantity, canonical, milli, parse, value

FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX = "unable to parse quantity's suffix"
NUMBER = "unable to parse numeric part of quantity"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("0", "0"),
        ("0n", "0"),
        ("-0", "0"),
        ("0Gi", "0"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("1.G", "1G"),
        ("+2", "2"),
        ("007", "7"),
        ("-1.5", "-1500m"),
        ("1.500", "1500m"),
        ("1024", "1024"),
        ("1000", "1k"),
        ("100000", "100k"),
        ("1024Ki", "1Mi"),
        ("1000Ki", "1000Ki"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1Ki", "1Ki"),
        ("1.1Ki", "1126400m"),
        ("0.0001Ki", "102400u"),
        ("1000Mi", "1000Mi"),
        ("128Mi", "128Mi"),
        ("8Ei", "9223372036854775807"),
        ("-8Ei", "-9223372036854775807"),
        ("7Ei", "7Ei"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e6", "12e6"),
        ("1e2", "100"),
        ("1e-3", "1e-3"),
        ("1.5e0", "1500e-3"),
        ("1E", "1E"),
        ("1000E", "1000E"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1e-30", "1e-9"),
        ("1n", "1n"),
        ("1000n", "1u"),
        ("1000u", "1m"),
    ],
)
def test_canonical_forms(text: str, form: str) -> None:
    assert canonical(text) == form
    assert canonical(form) == form


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", FORMAT),
        ("+", FORMAT),
        ("m", FORMAT),
        ("1.1.M", FORMAT),
        ("1+1.0M", FORMAT),
        ("aoeu", FORMAT),
        (" 1", FORMAT),
        ("1 ", FORMAT),
        ("1\n", FORMAT),
        ("100 Mi", FORMAT),
        ("٣", FORMAT),
        ("1e1.5", FORMAT),
        ("9" * 300, FORMAT),
        ("0.1am", FORMAT),
        (".", NUMBER),
        ("0.1mi", SUFFIX),
        (".5i", SUFFIX),
        ("1i", SUFFIX),
        ("-3.01i", SUFFIX),
        ("-3.01e-", SUFFIX),
        ("1K", SUFFIX),
        ("1ki", SUFFIX),
        ("1mm", SUFFIX),
        ("1e", SUFFIX),
        ("1+5", SUFFIX),
        ("1Mi5", SUFFIX),
        ("1e99999999999", SUFFIX),
    ],
)
def test_what_is_no_quantity_is_refused_in_kubernetes_words(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("text", "units", "thousandths"),
    [
        ("1", 1, 1000),
        ("100m", 1, 100),
        ("1100m", 2, 1100),
        ("1n", 1, 1),
        ("-1n", -1, -1),
        ("-1500m", -2, -1500),
        ("1Ki", 1024, 1024000),
        ("0", 0, 0),
        ("2.5", 3, 2500),
    ],
)
def test_units_and_thousandths_round_away_from_zero(text: str, units: int, thousandths: int) -> None:
    assert (value(text), milli(text)) == (units, thousandths)


SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
    **{f"{letter}{exponent}": Fraction(10) ** exponent for letter in "eE" for exponent in range(-12, 13)},
}

texts = st.builds(
    lambda sign, whole, fraction, suffix: (sign, whole, fraction, suffix),
    st.sampled_from(["", "+", "-"]),
    st.from_regex(r"[0-9]{1,12}", fullmatch=True),
    st.one_of(st.none(), st.from_regex(r"[0-9]{0,12}", fullmatch=True)),
    st.sampled_from(sorted(SUFFIXES)),
)


def oracle(sign: str, whole: str, fraction: str | None, suffix: str) -> Fraction:
    """The amount by plain fractions, rounded away from zero to a billionth; binary ones at most 2**63-1."""
    exact = Fraction(int(whole + (fraction or "")), 10 ** len(fraction or "")) * SUFFIXES[suffix]
    rounded = Fraction(math.ceil(exact * 10**9), 10**9)
    if suffix.endswith("i"):
        rounded = min(rounded, Fraction(2**63 - 1))
    return -rounded if sign == "-" else rounded


@given(texts)
def test_amounts_agree_with_plain_fractions(parts: tuple[str, str, str | None, str]) -> None:
    sign, whole, fraction, suffix = parts
    text = sign + whole + (f".{fraction}" if fraction is not None else "") + suffix
    amount = oracle(*parts)
    parsed = parse(text)
    assert Fraction(parsed.nanos, 10**9) == amount
    assert parsed.value == (math.ceil(amount) if amount >= 0 else math.floor(amount))
    assert parsed.milli == (math.ceil(amount * 1000) if amount >= 0 else math.floor(amount * 1000))


@given(texts)
def test_the_canonical_form_keeps_the_amount_and_has_no_fraction(parts: tuple[str, str, str | None, str]) -> None:
    sign, whole, fraction, suffix = parts
    text = sign + whole + (f".{fraction}" if fraction is not None else "") + suffix
    form = canonical(text)
    assert parse(form).nanos == parse(text).nanos
    assert canonical(form) == form
    assert "." not in form
    assert "+" not in form


@given(st.integers(1, 10**15))
def test_the_suffix_is_as_large_as_it_can_be(amount: int) -> None:
    form = str(Quantity(amount * 10**9, "DecimalSI"))
    assert not form.rstrip("kMGTP").endswith("000")
    binary = str(Quantity(amount * 10**9, "BinarySI"))
    if amount >= 1024 and amount % 1024 == 0:
        assert binary[-2:] in {"Ki", "Mi", "Gi", "Ti", "Pi"}
        assert int(binary[:-2]) % 1024 != 0


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    problem = ""
    try:
        parse(text)
    except ValueError as error:
        problem = str(error)
    assert problem in {"", FORMAT, SUFFIX, NUMBER}
