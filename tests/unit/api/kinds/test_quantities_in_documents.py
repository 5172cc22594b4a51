"""Quantities of resource lists, against fractions: rounded up to thousandths, and else the same amount."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from orch import quantity
from orch_api.kinds import quantities

TEXTS = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}.{fraction}{suffix}",
    st.sampled_from(("", "-")),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from(("n", "u", "m", "", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-3")),
)


def amount(text: str) -> Fraction:
    return Fraction(quantity.parse(text).nanos, 10**9)


@given(TEXTS)
def test_an_amount_is_rounded_away_from_zero_to_thousandths(text: str) -> None:
    exact = amount(text)
    form = quantities.canonical(text)
    rounded = Fraction(math.ceil(abs(exact) * 1000), 1000)
    assert amount(form) in {exact, rounded if exact >= 0 else -rounded}
    assert not form.endswith(("n", "u"))
    assert quantities.canonical(form) == form


@given(TEXTS, TEXTS)
def test_amounts_order_as_fractions_do(one: str, other: str) -> None:
    left, right = quantity.parse(one), quantity.parse(other)
    assert (left.nanos < right.nanos) == (amount(one) < amount(other))
    assert (left.milli <= right.milli) or amount(one) > amount(other)
    assert quantity.parse(str(left)).nanos == left.nanos


@given(st.lists(TEXTS, max_size=5))
def test_sums_are_those_of_fractions(texts: list[str]) -> None:
    total = sum(quantity.parse(text).nanos for text in texts)
    for notation in ("DecimalSI", "BinarySI", "DecimalExponent"):
        assert amount(str(quantity.Quantity(total, notation))) == sum(map(amount, texts), Fraction())
