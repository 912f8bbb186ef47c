"""Envelopes: only the right key, context and bytes open them."""

import struct
import tracemalloc

import numpy as np
import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.errors import SpecError, WireError
from fedgenome.secure import envelope
from fedgenome.secure.envelope import (
    CHUNK_BYTES,
    SMALL_BYTES,
    TAG_BYTES,
    PartyKey,
    PublicKey,
    open_small,
    open_vector_into,
    seal_small,
    seal_vector,
    vector_bytes,
)
from fedgenome.secure.sharing import Masked

KEY, OTHER = PartyKey.generate(), PartyKey.generate()
SECRET = bytes(range(32))
STEP = CHUNK_BYTES + TAG_BYTES
N_WORDS = (2 * CHUNK_BYTES + 12) // 4  # three chunks, the last one short


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    return np.arange(N_WORDS, dtype=np.uint32)


@pytest.fixture(scope="module")
def blob(words: np.ndarray) -> bytes:
    return seal_vector(words, KEY.public, b"info")


def opened(blob: bytes, key: PartyKey = KEY, info: bytes = b"info") -> bytes:
    got = bytearray()
    open_vector_into(blob, key, info, got.extend)
    return bytes(got)


def test_secret_comes_back():
    sealed = seal_small(SECRET, KEY.public, b"info")
    assert len(sealed) == SMALL_BYTES == 1168
    assert open_small(sealed, KEY, b"info") == SECRET
    assert open_small(memoryview(sealed), KEY, b"info") == SECRET


def test_sealing_twice_gives_different_bytes(words):
    assert seal_small(SECRET, KEY.public, b"") != seal_small(SECRET, KEY.public, b"")
    one, two = (seal_vector(words[:100], KEY.public, b"") for _ in range(2))
    assert one[SMALL_BYTES:] != two[SMALL_BYTES:]


@pytest.mark.parametrize(("key", "info"), [(OTHER, b"info"), (KEY, b"other"), (KEY, b"")])
def test_wrong_key_or_context_opens_nothing(key, info, blob):
    with pytest.raises(WireError, match="not sealed to this key and context"):
        open_small(seal_small(SECRET, KEY.public, b"info"), key, info)
    with pytest.raises(WireError, match="not sealed to this key and context"):
        opened(blob, key, info)


def test_secret_with_any_byte_altered_is_refused():
    sealed = seal_small(SECRET, KEY.public, b"info")
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1 << place % 8
        with pytest.raises(WireError, match=r"^sealed secret: "):
            open_small(bytes(altered), KEY, b"info")


@pytest.mark.parametrize("sealed", [b"", bytes(SMALL_BYTES - 1), bytes(SMALL_BYTES + 1)])
def test_sealed_secret_has_one_length(sealed):
    with pytest.raises(WireError, match=f"expected 1168 bytes, got {len(sealed)}"):
        open_small(sealed, KEY, b"info")


def test_only_secrets_of_32_bytes_are_sealed_and_none_is_shown():
    with pytest.raises(SpecError, match=r"^expected a secret of 32 bytes, got length=3$"):
        seal_small(b"abc", KEY.public, b"")


def test_public_key_survives_its_bytes():
    raw = KEY.public.to_bytes()
    assert len(raw) == 1216
    assert PublicKey.from_bytes(raw) == KEY.public != OTHER.public
    assert open_small(seal_small(SECRET, PublicKey.from_bytes(raw), b""), KEY, b"") == SECRET


@pytest.mark.parametrize("raw", [b"", bytes(1215), bytes(1217), b"\xff" * 1216])
def test_bytes_that_are_no_public_key_are_refused(raw):
    with pytest.raises(WireError, match=r"^public key: expected"):
        PublicKey.from_bytes(raw)


def test_curve_point_that_shares_no_secret_is_refused():
    low_order = PublicKey.from_bytes(KEY.public.to_bytes()[:1184] + bytes(32))
    with pytest.raises(WireError, match="no secret can be shared"):
        seal_small(SECRET, low_order, b"")


def test_keys_show_a_fingerprint_and_nothing_else():
    shown = repr(KEY)
    assert shown == f"PartyKey(public={KEY.public!r})"
    assert len(shown) < 80
    assert repr(OTHER) != shown


@pytest.mark.parametrize("n", [0, 1, CHUNK_BYTES // 4 - 1, CHUNK_BYTES // 4, CHUNK_BYTES // 4 + 1, N_WORDS])
@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_vector_of_any_length_comes_back(n, dtype):
    vector = np.arange(n, dtype=dtype)
    sealed = seal_vector(vector, KEY.public, b"info")
    assert len(sealed) == vector_bytes(vector.nbytes)
    assert opened(sealed) == vector.tobytes()


def test_prefix_stands_before_the_vector_in_the_clear(words):
    sealed = seal_vector(words[:10], KEY.public, b"info", prefix=b"header")
    assert sealed[:6] == b"header"
    assert opened(sealed[6:]) == words[:10].tobytes()


def test_masked_vector_is_sealed_as_it_is_read(words):
    assert opened(seal_vector(Masked(words), KEY.public, b"info")) == words.tobytes()


def test_format_is_the_documented_one(words, blob):
    suite = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    cipher = AESGCM(suite.decrypt(blob[:1168], KEY._key, info=b"info"))
    chunks = [blob[start : start + 2**20 + 16] for start in range(1168, len(blob), 2**20 + 16)]
    nonces = [bytes(7) + struct.pack(">I", index) + bytes([index == 2]) for index in range(3)]
    assert b"".join(cipher.decrypt(n, c, None) for n, c in zip(nonces, chunks, strict=True)) == words.tobytes()


# Chunks 0, 1 and 2 (the last), rearranged: every way to lose, move, repeat or add one.
DAMAGES = {
    "no chunk": lambda c: [],
    "last chunk lost": lambda c: c[:2],
    "only the last": lambda c: c[2:],
    "middle lost": lambda c: [c[0], c[2]],
    "swapped": lambda c: [c[1], c[0], c[2]],
    "repeated": lambda c: [c[0], *c],
    "last repeated": lambda c: [*c, c[2]],
    "a byte more": lambda c: [*c, b"\0"],
    "a tag more": lambda c: [*c, bytes(TAG_BYTES)],
    "a byte less": lambda c: [*c[:2], c[2][:-1]],
    "cut within a tag": lambda c: [*c[:2], c[2][:5]],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_lost_moved_repeated_or_added_chunk_is_refused(damage, blob):
    chunks = [blob[start : start + STEP] for start in range(SMALL_BYTES, len(blob), STEP)]
    with pytest.raises(WireError, match=r"^sealed vector: chunk \d is not what was sealed$"):
        opened(blob[:SMALL_BYTES] + b"".join(DAMAGES[damage](chunks)))


@given(place=st.integers(0, vector_bytes(4 * N_WORDS) - 1), bit=st.integers(0, 7))
def test_vector_with_any_bit_altered_is_refused_before_that_chunk_is_handed_on(place, bit, words, blob):
    altered, got = bytearray(blob), bytearray()
    altered[place] ^= 1 << bit
    with pytest.raises(WireError, match=r"^sealed "):
        open_vector_into(bytes(altered), KEY, b"info", got.extend)
    good = max(place - SMALL_BYTES, 0) // STEP
    assert bytes(got) == words.tobytes()[: good * CHUNK_BYTES]


@pytest.mark.parametrize("n_more", [1, TAG_BYTES, TAG_BYTES + 1])
def test_bytes_after_a_full_last_chunk_are_refused(n_more):
    full = seal_vector(np.zeros(CHUNK_BYTES // 4, np.uint32), KEY.public, b"info")
    with pytest.raises(WireError, match="chunk 0 is not what was sealed"):
        opened(full + bytes(n_more))


def test_chunks_of_another_vector_are_refused(words, blob):
    other = seal_vector(words, KEY.public, b"info")
    with pytest.raises(WireError, match="chunk 0"):
        opened(blob[:SMALL_BYTES] + other[SMALL_BYTES:])


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_open_nothing(noise):
    with pytest.raises(WireError):
        opened(noise)


def test_no_second_vector_is_held():
    words = np.zeros(4_000_000, np.uint32)
    tracemalloc.start()
    sealed = seal_vector(words, KEY.public, b"info")
    sealing = tracemalloc.get_traced_memory()[1] - len(sealed)
    tracemalloc.reset_peak()
    open_vector_into(sealed, KEY, b"info", lambda chunk: None)
    opening = tracemalloc.get_traced_memory()[1] - len(sealed)
    tracemalloc.stop()
    assert max(sealing, opening) < 1.5 * envelope.CHUNK_BYTES
