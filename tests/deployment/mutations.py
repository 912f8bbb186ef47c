"""Seeded mutations of messages: nothing but the standard library, so that a container can be told this file's text."""

import random

KINDS = ("truncate", "flip", "overwrite", "blow up", "reorder", "repeat", "concatenate", "insert", "nest", "random")
_SIZES = (0, 1, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1)


def mutants(originals, count, seed):
    """Yield ``count`` (kind of mutation, bytes), every kind in turn; none of the messages is an original.

    Args:
        originals: Bytes of true messages.
        count: How many.
        seed: The same gives the same.
    """
    rng = random.Random(seed)
    known = set(originals)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        made = _mutated(kind, originals, rng)
        while made in known:  # turned over twice, or repeated nothing
            made = _mutated("random", originals, rng)
        yield kind, made


def _mutated(kind, originals, rng):
    blob = bytearray(rng.choice(originals))
    low, high = sorted(rng.randrange(len(blob) + 1) for _ in range(2))
    if kind == "truncate":
        return bytes(blob[: rng.randrange(len(blob))])
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 2, 8))):
            blob[rng.randrange(len(blob))] ^= 1 << rng.randrange(8)
    elif kind == "overwrite":
        blob[low:high] = rng.randbytes(high - low)
    elif kind == "blow up":  # whatever stands there is read as a length by somebody
        width, order = rng.choice((2, 4, 8)), rng.choice(("big", "little"))
        at = rng.choice((0, 0, rng.randrange(len(blob)), rng.randrange(min(64, len(blob)))))
        blob[at : at + width] = (rng.choice(_SIZES) % (1 << 8 * width)).to_bytes(width, order)
    elif kind == "reorder":
        blob = blob[high:] + blob[low:high] + blob[:low]
    elif kind == "repeat":
        blob[low:low] = blob[low:high] * rng.choice((1, 2, 16))
    elif kind == "concatenate":
        blob += rng.choice(originals)
    elif kind == "insert":
        blob[low:low] = rng.randbytes(rng.choice((1, 8, 4096)))
    elif kind == "nest":
        blob[low:low] = rng.choice((b"[", b'{"a":', b"\x0a\x80\x80\x01")) * rng.choice((64, 5000, 50_000))
    else:
        blob = bytearray(rng.randbytes(rng.choice((0, 1, 4, 18, 300, 100_000))))
    return bytes(blob)
