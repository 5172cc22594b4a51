"""The framer: what is written is read back however it is cut, and what is no SPDY is refused within bounds."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.spdy.frames import (
    MAX_CONTROL,
    Data,
    Frame,
    FrameReader,
    FrameWriter,
    GoAway,
    Headers,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)
from orch.spdy.headers import DICTIONARY, MAX_BLOCK, ProtocolError

IDS = st.integers(1, 0x7FFFFFFF)
TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\0"), max_size=20)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
HEADERS = st.dictionaries(NAMES, TEXT, max_size=6)
WORDS = st.integers(0, 0xFFFFFFFF)
FRAMES = st.one_of(
    st.builds(SynStream, IDS, HEADERS, st.booleans(), st.booleans(), st.integers(0, 99), st.integers(0, 7)),
    st.builds(SynReply, IDS, HEADERS, st.booleans()),
    st.builds(Headers, IDS, HEADERS, st.booleans()),
    st.builds(RstStream, IDS, WORDS),
    st.builds(
        Settings,
        st.lists(st.tuples(st.integers(0, 0xFFFFFF), st.integers(0, 255), WORDS), max_size=4).map(tuple),
        st.booleans(),
    ),
    st.builds(Ping, WORDS),
    st.builds(GoAway, st.integers(0, 0x7FFFFFFF), WORDS),
    st.builds(WindowUpdate, IDS, st.integers(0, 0x7FFFFFFF)),
    st.builds(Data, IDS, st.binary(max_size=200), st.booleans()),
)


def whole(frames: list[Frame]) -> list[Frame]:
    """Join the pieces in which data was handed out."""
    joined: list[Frame] = []
    open_data: Data | None = None
    for each in frames:
        frame = each
        if isinstance(frame, Data) and open_data is not None and open_data.stream == frame.stream:
            frame = Data(frame.stream, open_data.data + frame.data, frame.fin)
            joined.pop()
        open_data = frame if isinstance(frame, Data) and not frame.fin else None
        joined.append(frame)
    return joined


@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(1, 40), min_size=1))
def test_what_is_written_is_read_back_however_it_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    writer, reader = FrameWriter(), FrameReader()
    wire = b"".join(writer.encode(frame) for frame in frames)
    read: list[Frame] = []
    place = turn = 0
    while place < len(wire):
        size = cuts[turn % len(cuts)]
        read += reader.feed(wire[place : place + size])
        place, turn = place + size, turn + 1
    assert whole(read) == whole(frames)


@given(st.binary(max_size=300))
def test_what_is_no_spdy_is_refused_and_nothing_else(noise: bytes) -> None:
    with suppress(ProtocolError):
        for frame in FrameReader().feed(noise):
            assert frame is not None


def test_the_dictionary_is_the_protocols() -> None:
    # 0xe3c6a7c2 is what every SPDY/3 header block names in its zlib header.
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)
    block = FrameWriter().encode(SynReply(1))[12:]
    assert block[2:6] == bytes.fromhex("e3c6a7c2")


def test_bytes_as_the_draft_has_them() -> None:
    writer = FrameWriter()
    assert writer.encode(Ping(5)) == bytes.fromhex("80030006 00000004 00000005")
    assert writer.encode(RstStream(1, 5)) == bytes.fromhex("80030003 00000008 00000001 00000005")
    assert writer.encode(GoAway(3)) == bytes.fromhex("80030007 00000008 00000003 00000000")
    assert writer.encode(Data(1, b"ab", fin=True)) == bytes.fromhex("00000001 01000002") + b"ab"


def test_a_block_that_another_compressor_made() -> None:
    """As Go's: the highest compression, the widest window, one compressor for all blocks."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)

    def opening(stream: int, headers: dict[bytes, bytes]) -> bytes:
        pairs = (struct.pack(">I", len(text)) + text for pair in headers.items() for text in pair)
        plain = struct.pack(">I", len(headers)) + b"".join(pairs)
        block = compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return struct.pack(">HHIIIBB", 0x8003, 1, 10 + len(block), stream, 0, 0, 0) + block

    wire = opening(1, {b"streamtype": b"error", b"port": b"80"}) + opening(3, {b"streamtype": b"data"})
    assert list(FrameReader().feed(wire)) == [
        SynStream(1, {"streamtype": "error", "port": "80"}),
        SynStream(3, {"streamtype": "data"}),
    ]


def test_data_is_handed_out_before_its_frame_is_complete() -> None:
    reader = FrameReader()
    head = struct.pack(">II", 1, 1 << 24 | 16_000_000)
    assert list(reader.feed(head + b"abc")) == [Data(1, b"abc")]
    assert list(reader.feed(b"def")) == [Data(1, b"def")]
    assert len(reader._buffer) == 0


@pytest.mark.parametrize(
    ("wire", "problem"),
    [
        (struct.pack(">HHI", 0x8002, 1, 0), "version 2"),
        (struct.pack(">HHI", 0x8003, 1, MAX_CONTROL + 1), "control frame of"),
        (struct.pack(">HHI", 0x8003, 6, 0), "too short"),
        (struct.pack(">HHIII", 0x8003, 4, 8, 2, 0), "not as long as it says"),
        (struct.pack(">HHIII", 0x8003, 3, 8, 0, 5), "stream 0"),
        (struct.pack(">II", 0, 0), "stream 0"),
        (struct.pack(">HHII", 0x8003, 2, 8, 1) + b"nope", "cannot be decompressed"),
    ],
)
def test_frames_that_break_the_rules(wire: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        list(FrameReader().feed(wire))


def reply_with(plain: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    block = compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack(">HHII", 0x8003, 2, 4 + len(block), 1) + block


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (struct.pack(">II", 1, 1 << 30), "ends too early"),
        (struct.pack(">I", 1), "ends too early"),
        (b"", "ends too early"),
        (struct.pack(">III", 1, 0, 0), "an empty one"),
        ((struct.pack(">I", 2) + (struct.pack(">I", 1) + b"a" + struct.pack(">I", 0)) * 2), "twice"),
        (struct.pack(">I", 0) + b"more", "longer than its headers"),
        (b"\0" * (MAX_BLOCK + 1), "more than"),
        (b"\0" * (64 << 20), "more than"),
    ],
    ids=["long", "short", "empty", "nameless", "twice", "longer", "large", "bomb"],
)
def test_header_blocks_that_break_the_rules(plain: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=problem):
        list(FrameReader().feed(reply_with(plain)))


def test_frames_of_a_kind_that_is_not_known_are_skipped() -> None:
    wire = struct.pack(">HHI", 0x8003, 99, 4) + b"what" + FrameWriter().encode(Ping(1))
    assert list(FrameReader().feed(wire)) == [Ping(1)]
