"""Frames: what encode gives decode takes, and nothing else."""

import ast
import contextlib
import json
import os
import resource
import socket
import struct
import threading
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.errors import SpecError, WireError
from fedgenome.secure import frames, parties, party
from fedgenome.secure.frames import HEAD, LENGTH, MAGIC, MAX_FRAME, Frame, Kind, Room, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PART = encode(Frame(kind=Kind.PART, header={"site": "a"}, body=b"sealed"))


def framed(header, body=b"", kind=Kind.PART, magic=MAGIC, version=1):
    return HEAD.pack(magic, version, kind, len(header), len(body)) + header + body


@given(
    header=st.dictionaries(st.text(), JSON, max_size=4),
    kind_body=st.sampled_from(Kind).flatmap(
        lambda kind: st.tuples(st.just(kind), st.binary(max_size=64 if kind in (Kind.PART, Kind.WORDS) else 0))
    ),
)
def test_decode_returns_what_was_encoded(header, kind_body):
    kind, body = kind_body
    found = decode(encode(Frame(kind=kind, header=header, body=body)))
    assert (found.kind, found.header, bytes(found.body)) == (kind, header, body)


def test_layout_is_the_documented_one():
    head = b"FGPF\x01\x04" + (12).to_bytes(4, "big") + (6).to_bytes(8, "big")
    assert head + b'{"site":"a"}sealed' == PART


@given(blob=st.binary(max_size=200))
def test_only_what_encode_gives_is_accepted(blob):
    for candidate in (blob, PART[: len(blob)] + blob):
        try:
            frame = decode(candidate)
        except WireError:
            continue
        assert encode(frame) == candidate


@given(at=st.integers(0, len(PART) - 1), bit=st.integers(0, 7))
def test_flipped_bit_never_gives_the_same_frame(at, bit):
    altered = bytearray(PART)
    altered[at] ^= 1 << bit
    try:
        frame = decode(bytes(altered))
    except WireError:
        return
    assert (frame.kind, frame.header, bytes(frame.body)) != (Kind.PART, {"site": "a"}, b"sealed")


BAD = {
    "empty": (b"", "0 bytes, a frame's head needs"),
    "head cut": (PART[:10], "10 bytes, a frame's head needs"),
    "magic": (framed(b"{}", magic=b"FGPT"), "magic/version"),
    "version": (framed(b"{}", version=2), "magic/version"),
    "kind": (framed(b"{}", kind=99), "kind 99 is unknown"),
    "too short": (PART[:-1], "bytes, expected"),
    "too long": (PART + b"x", "bytes, expected"),
    "body where none may be": (framed(b"{}", b"x", kind=Kind.BEGIN), "BEGIN has no body"),
    "no JSON": (framed(b"{"), "canonical"),
    "list for header": (framed(b"[]"), "canonical"),
    "space in JSON": (framed(b'{"a": 1}'), "canonical"),
    "key twice": (framed(b'{"a":1,"a":1}'), "canonical"),
    "keys unsorted": (framed(b'{"b":1,"a":1}'), "canonical"),
    "NaN": (framed(b'{"a":NaN}'), "canonical"),
    "not UTF-8": (framed(b'{"a":"\xff"}'), "canonical"),
    "deep": (framed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "canonical"),
    "long number": (framed(b'{"a":' + b"9" * 5000 + b"}"), "canonical"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_bytes_are_a_wire_error(name):
    blob, text = BAD[name]
    with pytest.raises(WireError, match=text):
        decode(blob)


@pytest.mark.parametrize("header", [{}, {"site": 1}, {"site": "a", "more": 1}, {"other": "a"}, {"site": None}])
def test_fields_takes_exactly_the_keys_and_types(header):
    with pytest.raises(WireError, match="PART header"):
        Frame(kind=Kind.PART, header=header).fields(site=str)


def test_fields_does_not_take_a_bool_for_an_int():
    assert Frame(kind=Kind.OK, header={"index": 1}).fields(index=int) == (1,)
    with pytest.raises(WireError, match="index must be int"):
        Frame(kind=Kind.OK, header={"index": True}).fields(index=int)


def test_body_is_refused_where_none_may_be_sent():
    with pytest.raises(SpecError, match="a body only in PART and WORDS"):
        encode(Frame(kind=Kind.ABORT, header={}, body=b"x"))


def test_frame_beyond_the_limit_is_not_sent(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME", 32)
    with pytest.raises(SpecError, match="at most 32 bytes"):
        encode(Frame(kind=Kind.PART, header={"site": "a"}, body=b"sealed"))


# ── on a socket ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def ends():
    """Two ends of a connection; a call takes half a second at most."""
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(end) for end in Pipe()]
        for end in pair:
            with socket.socket(fileno=os.dup(end.fileno())) as twin:
                for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                    twin.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", 0, 500_000))
        yield pair


def prefixed(message):
    return LENGTH.pack(len(message)) + message


@contextlib.contextmanager
def meanwhile(work, *given):
    thread = threading.Thread(target=work, args=given)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


@given(bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=5), view=st.booleans())
def test_messages_of_any_length_cross_one_after_another_in_one_room(bodies, view):
    room, (ours, theirs) = Room(), Pipe()
    with ours, theirs:
        for body in bodies:
            sent = Frame(kind=Kind.PART, header={"site": "a"}, body=memoryview(body) if view else body)
            frames.send(ours, sent)
            assert frames.receive(theirs, room) == encode(sent)


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**18, 5_000_003])
def test_message_larger_than_every_buffer_crosses_whole(ends, size):
    body = np.random.default_rng(size).bytes(size)
    with meanwhile(frames.send, ends[0], Frame(kind=Kind.WORDS, header={}, body=body)):
        assert decode(frames.receive(ends[1])).body == body


def test_stream_is_that_of_multiprocessing_connections(ends):
    frame = decode(PART)
    ends[0].send_bytes(PART)
    assert frames.receive(ends[1]) == PART
    frames.send(ends[0], frame)
    assert ends[1].recv_bytes() == PART
    frames.send(ends[0], frame)
    assert os.read(ends[1].fileno(), 100) == len(PART).to_bytes(4, "big") + PART


def test_bytes_that_come_one_by_one_make_a_message(ends):
    def dribble():
        for byte in prefixed(PART):
            os.write(ends[0].fileno(), bytes([byte]))

    with meanwhile(dribble):
        assert frames.receive(ends[1]) == PART


def test_message_is_overwritten_by_the_next_in_its_room_and_kept_without_one(ends):
    room, other = Room(), encode(Frame(kind=Kind.PART, header={"site": "b"}, body=b"unseen"))
    for message in (PART, other, PART, other):
        os.write(ends[0].fileno(), prefixed(message))
    first = frames.receive(ends[1], room)
    frames.receive(ends[1], room)
    kept = frames.receive(ends[1])
    frames.receive(ends[1])
    assert (first, kept) == (other, PART)


def test_room_grows_to_the_largest_message_and_stays():
    room = Room()
    sizes = [len(room.of(size)) for size in (3, 1000, 0, 70)]
    assert (sizes, room._held.size) == ([3, 1000, 0, 70], 1000)


@pytest.mark.parametrize("cut", range(len(prefixed(PART))))
def test_connection_cut_within_a_message_is_its_end(ends, cut):
    os.write(ends[0].fileno(), prefixed(PART)[:cut])
    ends[0].close()
    with pytest.raises(EOFError):
        frames.receive(ends[1])


@pytest.mark.parametrize("length", [MAX_FRAME + 1, 2**32 - 1])
def test_message_announced_beyond_the_limit_is_refused_and_takes_no_room(ends, length):
    room = Room()
    os.write(ends[0].fileno(), LENGTH.pack(length) + b"x")
    with pytest.raises(OSError, match=f"a message of {length} bytes, at most {MAX_FRAME} are read"):
        frames.receive(ends[1], room)
    assert room._held.size == 0


def test_message_that_is_announced_and_never_comes_takes_no_memory(ends):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    os.write(ends[0].fileno(), LENGTH.pack(1 << 30) + b"x")
    ends[0].close()
    with pytest.raises(EOFError):
        frames.receive(ends[1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("sent", [b"", b"\0", prefixed(PART)[:-1]])
def test_silence_before_or_within_a_message_ends_the_wait(ends, sent):
    os.write(ends[0].fileno(), sent)
    with pytest.raises(BlockingIOError):
        frames.receive(ends[1])


def test_peer_that_takes_no_more_bytes_ends_the_wait(ends):
    with pytest.raises(BlockingIOError):
        frames.send(ends[0], Frame(kind=Kind.PART, header={}, body=bytes(5_000_000)))


def test_peer_that_is_gone_is_an_error(ends):
    ends[1].close()
    with pytest.raises(BrokenPipeError):
        frames.send(ends[0], Frame(kind=Kind.ABORT, header={}))


def test_neither_sending_nor_receiving_leaves_a_descriptor(ends):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        frames.send(ends[0], decode(PART))
        frames.receive(ends[1])
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("module", [frames, party, parties])
def test_nothing_is_pickled(module):
    tree = ast.parse(Path(module.__file__).read_text())
    methods = [
        node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    pickling = [m for m in methods if m.attr in ("send", "recv") and ast.unparse(m.value) != "frames"]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not pickling
    assert methods
    assert not [node for node in imports if "pickle" in ast.unparse(node)]


def test_canonical_json_is_what_json_calls_sorted_and_compact():
    blob = encode(Frame(kind=Kind.OK, header={"b": [1, 2.5], "a": "ä"}))
    assert json.loads(blob[HEAD.size :]) == {"a": "ä", "b": [1, 2.5]}
    assert blob[HEAD.size :] == b'{"a":"\\u00e4","b":[1,2.5]}'
