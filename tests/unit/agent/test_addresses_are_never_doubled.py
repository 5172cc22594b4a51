from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch_agent.network.addresses import AddressBook, AddressesExhaustedError


def test_an_address_stays_its_owners(tmp_path: Path) -> None:
    book = AddressBook("10.0.0.0/29", tmp_path / "book")
    assert book.gateway == "10.0.0.1"
    assert book.take("a") == "10.0.0.2"
    assert book.take("a") == "10.0.0.2"
    again = AddressBook("10.0.0.0/29", tmp_path / "book")
    assert again.owners() == ("a",)
    assert again.take("a") == "10.0.0.2"
    assert again.take("b") == "10.0.0.3"


def test_a_released_address_is_given_again_last() -> None:
    book = AddressBook("10.0.0.0/29")
    assert [book.take(name) for name in "abc"] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    book.release("a")
    assert [book.take(name) for name in "de"] == ["10.0.0.5", "10.0.0.6"]
    assert book.take("f") == "10.0.0.2"
    with pytest.raises(AddressesExhaustedError, match="all 5 are in use"):
        book.take("g")


def test_addresses_of_a_range_that_was_changed_are_forgotten(tmp_path: Path) -> None:
    AddressBook("10.0.0.0/29", tmp_path / "book").take("a")
    assert AddressBook("10.9.0.0/29", tmp_path / "book").owners() == ()


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=60))
def test_no_two_hold_the_same(steps: list[tuple[bool, str]]) -> None:
    book = AddressBook("10.0.0.0/28")
    held: dict[str, str] = {}
    for take, name in steps:
        if take:
            address = book.take(name)
            assert held.setdefault(name, address) == address
        else:
            book.release(name)
            held.pop(name, None)
        assert len(set(held.values())) == len(held)
        assert set(book.owners()) == set(held)
        assert not {"10.0.0.0", "10.0.0.1", "10.0.0.15"} & set(held.values())
