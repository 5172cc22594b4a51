"""Keys of nodes: which texts are keys, and what a node's key may be used for."""

from __future__ import annotations

from pathlib import Path

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.bus import permissions
from orch.bus.node_users import encode_keys, read_keys, users_of
from orch.bus.server import User
from orch.bus.user_keys import decode_seed, encode_public, encode_seed, is_public
from orch.errors import ConfigError

A, B = (encode_public(bytes([number] * 32)) for number in (1, 2))


@given(st.binary(min_size=32, max_size=32))
def test_keys_are_those_of_nats(seed: bytes) -> None:
    text = encode_seed(seed)
    assert decode_seed(text) == seed
    assert is_public(nkeys.from_seed(bytearray(text.encode())).public_key.decode())
    assert not is_public(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "U",
        A[:-1],
        A[:-1] + ("A" if A[-1] != "A" else "B"),
        A.lower(),
        f"{A}\n",
        f'{A}", permissions: {{}} #',
        A + A,
    ],
)
def test_what_is_no_key_never_reaches_the_server(text: str) -> None:
    assert not is_public(text)


def test_a_node_has_its_own_permissions_and_takes_nobody_elses_key() -> None:
    api = User(name=permissions.API, nkey=A, permissions=permissions.api())
    users = users_of({"evil": A, "good": B, "late": B}, [api])
    assert [(user.name, user.nkey) for user in users] == [(permissions.API, A), ("system:node:good", B)]
    assert users[1].permissions == permissions.node("good")


def test_a_file_that_is_missing_names_nobody_and_one_that_is_damaged_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    assert read_keys(file) == {}
    file.write_bytes(encode_keys({"b": B, "a": A}))
    assert read_keys(file) == {"a": A, "b": B}
    file.write_text("[1]")
    with pytest.raises(ConfigError):
        read_keys(file)
