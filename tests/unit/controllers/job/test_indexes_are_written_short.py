from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch_api.kinds.job_policies import index_ranges
from orch_controllers.job.indexes import Indexes

SETS = st.sets(st.integers(0, 60))


@pytest.mark.parametrize(
    ("indexes", "text"), [([], ""), ([4], "4"), ([1, 2], "1,2"), ([1, 3, 4, 5, 7], "1,3-5,7"), ([0, 1, 2, 3], "0-3")]
)
def test_written(indexes: list[int], text: str) -> None:
    assert str(Indexes.of(indexes)) == text
    assert list(Indexes.parse(text, 100)) == indexes


@pytest.mark.parametrize(
    ("text", "completions", "indexes"),
    [
        ("0-9", 4, [0, 1, 2, 3]),
        ("7", 4, []),
        ("1,x,3", 9, [1, 3]),
        ("5-3,8", 9, [8]),
        ("-1", 9, []),
        ("1-,2", 9, [1, 2]),
    ],
)
def test_what_the_job_no_longer_has_and_what_cannot_be_read_is_left_out(
    text: str, completions: int, indexes: list[int]
) -> None:
    assert list(Indexes.parse(text, completions)) == indexes


@given(SETS, SETS, st.integers(0, 70), st.integers(0, 70))
def test_they_are_sets(one: set[int], other: set[int], count: int, completions: int) -> None:
    first, second = Indexes.of(one), Indexes.of(other)
    assert list(first | second) == sorted(one | other)
    assert first.total == len(one)
    assert [index for index in range(70) if index in first] == sorted(one)
    assert first.missing(count, completions) == [index for index in range(completions) if index not in one][:count]
    ranges = list(index_ranges(str(first), 61))
    assert [index for low, high in ranges for index in range(low, high + 1)] == sorted(one), "as the api reads it"
