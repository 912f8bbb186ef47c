"""Shares: they add up, two of them say nothing, and a mask belongs to one place only."""

import hmac
import tracemalloc

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from fedgenome.errors import SpecError
from fedgenome.query import Query, Question, Terms
from fedgenome.secure import sharing
from fedgenome.secure.sharing import Mask, Masked, add_mask, carrier, context, share

dtypes = st.sampled_from([np.uint32, np.uint64])
sizes = st.sampled_from([1, 2, 7, sharing._BLOCK_BYTES // 8, sharing._BLOCK_BYTES // 4 + 1])
CONTEXTS = (b"first", b"second", b"third")
SEED = bytes(range(32))


def query(**changes: object) -> Query:
    terms = Terms(caps=(("a", 10), ("b", 10)), colluders=0, quorum=1, roster="", plan="")
    question = Question(payload={}, length=4, reply_length=4, bound=1.0, mechanism=None)
    fields = {"study": "s", "run": "r", "method": "m", "step": 0, "attempt": 0, "scale": 2048.0} | changes
    return Query(question=question, terms=terms, **fields)


def keystream(seed: bytes, info: bytes, n_bytes: int) -> bytes:
    """The oracle of a mask, from its definition."""
    key = hmac.digest(seed, info, "sha256")
    return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(n_bytes))


def whole(held: bytes | Masked, info: bytes, like: np.ndarray) -> np.ndarray:
    """A share written out as a vector."""
    if isinstance(held, bytes):
        return np.frombuffer(keystream(held, info, like.nbytes), like.dtype)
    return np.concatenate([block.copy() for block in held.blocks(1 << 12)])


@given(dtypes.flatmap(lambda t: hnp.arrays(t, st.integers(1, 50))), st.integers(0, 2))
def test_shares_of_any_vector_add_up_to_it(words, holder):
    shares = share(words, CONTEXTS, holder)
    assert [isinstance(held, Masked) for held in shares] == [party == holder for party in range(3)]
    total = sum((whole(s, c, words) for s, c in zip(shares, CONTEXTS, strict=True)), np.zeros_like(words))
    assert np.array_equal(total, words)


def test_shares_of_a_long_vector_add_up_and_leave_it_alone():
    words = np.arange(300_001, dtype=np.uint32)
    words.setflags(write=False)
    shares = share(words, CONTEXTS, 1)
    assert np.array_equal(sum(whole(s, c, words) for s, c in zip(shares, CONTEXTS, strict=True)), words)


def byte_uniformity(words: np.ndarray) -> float:
    return float(stats.chisquare(np.bincount(words.view(np.uint8), minlength=256)).pvalue)


def test_masked_vector_of_zeros_looks_uniform_and_an_unmasked_one_does_not():
    # One chi-square over 4e6 bytes; a sound mask fails with chance 1e-6 (its seeds are not fixed).
    zeros = np.zeros(10**6, np.uint32)
    assert byte_uniformity(whole(share(zeros, CONTEXTS, 0)[0], b"", zeros)) > 1e-6
    narrow = whole(share(zeros, CONTEXTS, 0)[0], b"", zeros) >> np.uint32(4)  # a 28-bit mask
    assert byte_uniformity(narrow) < 1e-6


def test_each_of_the_two_masks_alone_hides_the_vector():
    zeros = np.zeros(10**6, np.uint32)
    *seeds, masked = share(zeros, CONTEXTS, 2)
    vector = whole(masked, b"", zeros)
    for seed, info in zip(seeds, CONTEXTS, strict=False):
        rest = vector + whole(seed, info, zeros)  # what two colluding parties can compute
        assert byte_uniformity(rest) > 1e-6
        assert np.count_nonzero(rest) > 0.999 * rest.size


def test_seeds_are_fresh_for_each_vector_and_party():
    words = np.zeros(3, np.uint64)
    seeds = [held for _ in range(50) for held in share(words, CONTEXTS, 2)[:2]]
    assert {len(seed) for seed in seeds} == {32}
    assert len(set(seeds)) == 100


@given(dtypes, sizes)
def test_mask_is_the_keystream_of_its_definition(dtype, size):
    words = np.zeros(size, dtype)
    add_mask(words, SEED, b"context")
    assert words.tobytes() == keystream(SEED, b"context", words.nbytes)


@given(dtypes, st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_mask_taken_in_pieces_is_the_mask_taken_whole(dtype, pieces):
    whole_, parts = np.zeros(sum(pieces), dtype), np.zeros(sum(pieces), dtype)
    Mask(SEED, b"c").subtract_from(whole_)
    mask = Mask(SEED, b"c")
    for block in np.split(parts, np.cumsum(pieces)[:-1]):
        mask.subtract_from(block)
    assert np.array_equal(whole_, parts)


@given(dtypes.flatmap(lambda t: hnp.arrays(t, st.integers(1, 50))))
def test_subtracting_a_mask_undoes_adding_it(words):
    before = words.copy()
    add_mask(words, SEED, b"c")
    Mask(SEED, b"c").subtract_from(words)
    assert np.array_equal(words, before)


@pytest.mark.parametrize("n_bytes", [8, 24, 1 << 12])
def test_blocks_of_a_masked_vector_have_the_size_asked_for(n_bytes):
    masked = Masked(np.arange(1000, dtype=np.uint64))
    blocks = [block.copy() for block in masked.blocks(n_bytes)]
    assert {block.nbytes for block in blocks[:-1]} <= {n_bytes}
    assert np.array_equal(np.concatenate(blocks), np.arange(1000))
    assert masked.n_bytes == 8000


def test_masking_holds_no_second_vector():
    words = np.zeros(4_000_000, np.uint32)
    tracemalloc.start()
    add_mask(words, SEED, b"c")
    for _ in Masked(words, [Mask(SEED, b"c")]).blocks(1 << 20):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < words.nbytes / 8


def test_context_differs_in_each_name_and_place():
    places = [(query(), "a", 0), (query(), "a", 1), (query(), "b", 0)]
    changed = [{"run": "q"}, {"step": 1}, {"attempt": 1}, {"study": "t"}, {"method": "n"}, {"scale": 1024.0}]
    places += [(query(**change), "a", 0) for change in changed]
    assert len({context(*place) for place in places}) == len(places)


def test_context_does_not_run_names_together():
    assert context(query(attempt=1), "1a", 0) != context(query(attempt=11), "a", 0)
    one, other = query(run="r1"), query(run="r")
    object.__setattr__(one, "digest", "x")
    object.__setattr__(other, "digest", "1x")  # run + digest would read the same
    assert context(one, "a", 0) != context(other, "a", 0)


def test_vector_rotates_over_the_parties():
    assert [carrier(site) for site in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_seed_of_another_length_is_refused_and_not_shown(length):
    with pytest.raises(SpecError, match=f"^expected a seed of 32 bytes, got length={length}$"):
        add_mask(np.zeros(2, np.uint32), b"\xab" * length, b"c")
