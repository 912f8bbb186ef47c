"""Bundles: the parties' accumulators add up to the sum, and nothing but the right part changes one."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.errors import SpecError, WireError
from fedgenome.query import PARTIES, Query, Question, Terms, choose_scale
from fedgenome.secure import bundle, envelope, ring
from fedgenome.secure.envelope import PartyKey
from fedgenome.secure.identity import Identity

KEYS = tuple(PartyKey.generate() for _ in range(PARTIES))
PUBLICS = tuple(key.public for key in KEYS)
WIDTHS = (32, 64)


def query(length: int, width: int = 32, **changes: object) -> Query:
    cap = 100 if width == 32 else 10**9
    terms = Terms(caps=tuple((f"site-{i}", cap) for i in range(5)), colluders=1, quorum=1, roster="", plan="")
    question = Question(payload={}, length=length, reply_length=length, bound=1.0, mechanism=None)
    fields = {"study": "s", "run": "r", "method": "m", "step": 0, "attempt": 0} | changes
    made = Query(question=question, scale=choose_scale(question, terms), terms=terms, **fields)
    assert made.width == width
    return made


def revealed(asked: Query, bundles: Sequence[tuple[int, Sequence[bytes]]]) -> np.ndarray:
    """What the parties' accumulators add up to, for (site index, parts) of each site."""
    totals = np.zeros((PARTIES, asked.question.length), ring.dtype_of(asked.width))
    for index, parts in bundles:
        for party, (key, part) in enumerate(zip(KEYS, parts, strict=True)):
            bundle.add_part(asked, f"site-{index}", index, party, key, part, totals[party])
    return totals.sum(axis=0, dtype=totals.dtype)


@given(data=st.data(), length=st.integers(1, 60), width=st.sampled_from(WIDTHS))
def test_parties_of_any_sites_in_any_order_hold_exactly_the_sum(data, length, width):
    asked = query(length, width)
    order = data.draw(st.permutations(range(5)))[: data.draw(st.integers(0, 5))]
    vectors = {i: data.draw(hnp.arrays(ring.dtype_of(width), length)) for i in order}
    bundles = [(i, bundle.seal(asked, f"site-{i}", i, vectors[i], PUBLICS)) for i in order]
    expected = [sum(int(v[j]) for v in vectors.values()) % 2**width for j in range(length)]
    assert revealed(asked, bundles).tolist() == expected


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_survive_from_model_to_sum(width):
    asked = query(1000, width)
    totals = np.random.default_rng(3).normal(size=(5, 1000)) / 40
    words = [ring.encode(total, asked.scale, width) for total in totals]
    opened = revealed(asked, [(i, bundle.seal(asked, f"site-{i}", i, w, PUBLICS)) for i, w in enumerate(words)])
    assert np.abs(ring.decode(opened, asked.scale, width) - totals.sum(axis=0)).max() <= 2.5 / asked.scale


def test_words_are_left_alone():
    asked, words = query(4), np.arange(4, dtype=np.uint32)
    words.setflags(write=False)
    assert revealed(asked, [(1, bundle.seal(asked, "site-1", 1, words, PUBLICS))]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("length", [1, 2**18, 2**18 + 1, 300_000])
def test_upload_is_one_vector_3711_bytes_and_16_a_chunk(length, width):
    asked, identity = query(length, width), Identity.generate()
    parts = bundle.seal(asked, "site-0", 0, np.zeros(length, ring.dtype_of(width)), PUBLICS)
    vector = length * width // 8
    sent = sum(map(len, parts)) + len(bundle.sign(asked, "site-0", parts, identity))
    assert sent == bundle.upload_bytes(asked) == vector + 3711 + 16 * -(-vector // 2**20)


@pytest.mark.parametrize("index", range(4))
def test_header_names_the_kind_and_length_of_each_part(index):
    parts = bundle.seal(query(10), f"site-{index}", index, np.zeros(10, np.uint32), PUBLICS)
    for party, part in enumerate(parts):
        vector = party == index % 3
        assert part[:14] == b"FGPT\x01" + bytes([vector]) + (len(part) - 14).to_bytes(8, "big")


def assert_refused(asked: Query, index: int, party: int, part: bytes, site: str = "site-1", key: int = -1) -> None:
    """The part raises WireError and leaves the accumulator as it was."""
    accumulator = np.arange(asked.question.length, dtype=ring.dtype_of(asked.width))
    before = accumulator.copy()
    with pytest.raises(WireError, match=r"^(part|sealed secret|sealed vector): "):
        bundle.add_part(asked, site, index, party, KEYS[party if key < 0 else key], part, accumulator)
    assert np.array_equal(accumulator, before)


@pytest.fixture(scope="module")
def asked() -> Query:
    return query(40)


@pytest.fixture
def parts(asked: Query, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes, bytes]:
    """Site 1's: seed, vector in three chunks, seed."""
    monkeypatch.setattr(envelope, "CHUNK_BYTES", 64)
    return bundle.seal(asked, "site-1", 1, np.arange(40, dtype=np.uint32), PUBLICS)


CHANGES = [{"run": "q"}, {"step": 1}, {"attempt": 1}, {"method": "n"}, {"study": "t"}]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
@pytest.mark.parametrize("party", range(PARTIES))
def test_part_of_another_query_is_refused(change, party, parts):
    assert_refused(query(40, **change), 1, party, parts[party])


@pytest.mark.parametrize("party", range(PARTIES))
def test_part_under_another_site_or_key_is_refused(party, asked, parts):
    assert_refused(asked, 1, party, parts[party], site="site-4")
    assert_refused(asked, 1, party, parts[party], key=(party + 1) % 3)


@pytest.mark.parametrize(("party", "other"), [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
def test_part_of_another_party_is_refused(party, other, asked, parts):
    assert_refused(asked, 1, party, parts[other])
    assert_refused(asked, 1, party, parts[other], key=other)  # even where a party holds the other's key


@pytest.mark.parametrize("party", range(PARTIES))
def test_site_index_that_moves_the_vector_is_refused(party, asked, parts):
    for index in (0, 2) if party == 1 else (party,):
        assert_refused(asked, index, party, parts[party])


@pytest.mark.parametrize("party", [0, 1])
def test_part_with_any_byte_altered_is_refused(party, asked, parts):
    for place in range(len(parts[party])):
        altered = bytearray(parts[party])
        altered[place] ^= 1 << place % 8
        assert_refused(asked, 1, party, bytes(altered))


def test_stamp_is_for_the_secret_and_the_tags_and_the_tags_are_for_the_rest(asked, parts):
    identity, part = Identity.generate(), parts[1]
    stamp = bundle.sign(asked, "site-1", parts, identity)
    tags = [place for start in (1182, 1262, 1342) for place in range(min(start + 64, len(part) - 16), start + 80)]
    for place in range(len(part)):
        altered = bytearray(part)
        altered[place] ^= 1 << place % 8
        if place < 1182 or place in tags:
            with pytest.raises(WireError, match=r"^stamp: it is not for this part of party 1$"):
                bundle.check_stamp(asked, "site-1", identity.public, 1, altered, stamp)
        else:
            bundle.check_stamp(asked, "site-1", identity.public, 1, altered, stamp)
            assert_refused(asked, 1, 1, bytes(altered))


EDITS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda part: b"",
    "half a header": lambda part: part[:7],
    "header only": lambda part: part[:14],
    "a byte short": lambda part: part[:-1],
    "a byte long": lambda part: part + b"\0",
    "a chunk short": lambda part: part[:-80],
    "twice": lambda part: part * 2,
    "shorter, and says so": lambda part: part[:6] + (len(part) - 15).to_bytes(8, "big") + part[14:-1],
    "other kind, and says so": lambda part: part[:5] + bytes([1 - part[5]]) + part[6:],
    "later version": lambda part: part[:4] + b"\x02" + part[5:],
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("party", [0, 1])
def test_part_cut_extended_or_relabelled_is_refused(edit, party, asked, parts):
    assert_refused(asked, 1, party, EDITS[edit](parts[party]))


def test_part_is_told_its_length(asked, parts):
    with pytest.raises(WireError, match=r"^part: expected 1182 bytes, got 1183$"):
        bundle.add_part(asked, "site-1", 1, 0, KEYS[0], parts[0] + b"\0", np.zeros(40, np.uint32))


@given(st.binary(max_size=2000), st.booleans(), st.integers(0, 2))
def test_arbitrary_bytes_are_refused(noise, with_header, party):
    asked = query(40)
    header = bundle._header(asked, int(party == 1)) if with_header else b""
    assert_refused(asked, 1, party, header + noise)


def test_part_added_from_a_view_counts_the_same(asked, parts):
    one, other = np.zeros(40, np.uint32), np.zeros(40, np.uint32)
    for party in range(PARTIES):
        bundle.add_part(asked, "site-1", 1, party, KEYS[party], parts[party], one)
        bundle.add_part(asked, "site-1", 1, party, KEYS[party], memoryview(parts[party]), other)
    assert one.tolist() == other.tolist() == list(range(40))


@pytest.mark.parametrize("words", [np.zeros(3, np.uint32), np.zeros(4, np.uint64), np.zeros((4, 1), np.uint32)])
def test_words_that_do_not_fit_the_query_are_refused(words):
    with pytest.raises(SpecError, match="expected 4 words of 32 bits, got dtype="):
        bundle.seal(query(4), "site-0", 0, words, PUBLICS)
    with pytest.raises(SpecError, match="expected 4 words of 32 bits, got dtype="):
        bundle.add_part(query(4), "site-0", 0, 0, KEYS[0], b"", words)


def test_every_party_has_a_key():
    with pytest.raises(SpecError, match="expected 3 party keys, got keys=2"):
        bundle.seal(query(4), "site-0", 0, np.zeros(4, np.uint32), PUBLICS[:2])
