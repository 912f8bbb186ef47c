"""Frames: what encode gives decode takes, and nothing else."""

import ast
import json
from multiprocessing import Pipe
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.errors import SpecError, WireError
from fedgenome.secure import frames, parties, party
from fedgenome.secure.frames import HEAD, MAGIC, Frame, Kind, decode, encode

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


def test_message_crosses_a_connection_whole():
    ours, theirs = Pipe()
    with ours, theirs:
        frames.send(ours, Frame(kind=Kind.PART, header={"site": "a"}, body=b"sealed"))
        assert frames.receive(theirs) == PART


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
