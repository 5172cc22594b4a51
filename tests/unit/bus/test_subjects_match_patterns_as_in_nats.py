from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.bus import subjects
from orch.bus.patterns import matches

TOKENS = st.sampled_from(["a", "b", "orch"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.tuples(
    st.lists(st.one_of(TOKENS, st.just("*")), min_size=1, max_size=4), st.sampled_from(["", ".>"])
).map(lambda parts: ".".join(parts[0]) + parts[1])


@given(PATTERNS, SUBJECTS)
def test_a_pattern_matches_what_its_regular_expression_matches(pattern: str, subject: str) -> None:
    expression = re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+")
    assert matches(pattern, subject) == bool(re.fullmatch(expression, subject))


@pytest.mark.parametrize(
    ("pattern", "wanted", "allowed"),
    [
        ("orch.>", "orch.nodes.>", True),
        ("orch.>", ">", False),
        ("orch.nodes.*.pods.>", "orch.nodes.a.pods.>", True),
        ("orch.nodes.a.pods.>", "orch.nodes.*.pods.>", False),
        ("a.*", "a.>", False),
        ("a.*", "a.*", True),
        ("a.>", "a.*.b", True),
    ],
)
def test_a_permission_covers_only_what_it_includes(pattern: str, wanted: str, allowed: bool) -> None:
    assert matches(pattern, wanted) == allowed


@given(st.text(max_size=20))
def test_any_name_survives_as_one_token(name: str) -> None:
    token = subjects.escape(name)
    assert re.fullmatch(r"[^.*>\s]+", token)
    assert subjects.unescape(token) == name


def test_frames_of_a_node_go_to_its_part_of_the_inbox() -> None:
    served = subjects.node_rpc_subject("n1.example", "logs")
    inbox = subjects.stream_inbox(f"{subjects.inbox_prefix('system:apiserver')}.xyz", served)
    assert inbox == "_INBOX.system:apiserver.nodes.n1%2Eexample.xyz"
    assert matches(subjects.stream_inboxes_of("n1.example"), inbox)
    assert not matches(subjects.stream_inboxes_of("n2"), inbox)


def test_other_servers_get_the_inbox_as_it_is() -> None:
    assert subjects.stream_inbox("_INBOX.me.xyz", "orch.services.orch-api.log") == "_INBOX.me.xyz"
