from __future__ import annotations

import stat
from pathlib import Path

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import ConfigError
from orch_cli.nkey import encode_seed, public_key, user_key


@given(st.binary(min_size=32, max_size=32))
def test_seeds_and_public_keys_agree_with_the_reference(seed: bytes) -> None:
    encoded = encode_seed(seed)
    assert encoded.encode() == nkeys.encode_seed(seed, nkeys.PREFIX_BYTE_USER)
    assert public_key(encoded).encode() == nkeys.from_seed(bytearray(encoded.encode())).public_key


def test_a_key_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "node-1.nkey"
    assert user_key(file) == user_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_damaged_seed_is_refused_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "node-1.nkey"
    user_key(file)
    seed = file.read_text()
    file.write_text(seed[:10] + ("A" if seed[10] != "A" else "B") + seed[11:])
    with pytest.raises(ConfigError, match=r"node-1\.nkey: not the seed"):
        user_key(file)
