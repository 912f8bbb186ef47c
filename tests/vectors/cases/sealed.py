"""Vectors of signatures, shares and sealed parts; each function returns what its vectors mean."""

import itertools
from typing import Any

from fedgenome.query import PARTIES
from fedgenome.secure import bundle, envelope
from tests.vectors.cases.roles import (
    IDENTITIES,
    KEYS,
    LOW_ORDER,
    SITES,
    asked,
    flipped,
    hashed,
    pinned,
    public_of,
    sealed_by,
    small,
    words_of,
)
from tests.vectors.library import identity_of, party_key_of, query_of, terms_of


def statement(v: Any) -> str:
    stated = {
        "party key": [hashed("study"), "run é", hashed("terms"), 2, hashed("key", size=40)],
        "ledger line": [hashed("line")],
        "study": [hashed("study")],
        "request": ["site", "berlin", 400, public_of("berlin"), "ecdsa-sha2-nistp384 AAAA"],
        "bundle": [hashed("query"), "berlin", hashed(0), hashed(1), hashed(2)],
    }
    signer = identity_of(IDENTITIES["berlin"])
    for kind, values in stated.items():
        of = v.good(kind, kind=kind, values=values, public=signer.public, signature=signer.sign(kind, values).hex())
    signature = of["signature"]
    v.bads(
        "signature",
        of,
        {
            "altered": ("A bit is another.", flipped(signature, 40)),
            "truncated": ("A signature has 64 bytes.", signature[:-2]),
            "over long": ("A signature has 64 bytes.", signature + "00"),
            "empty": ("A signature has 64 bytes.", ""),
            "unreduced": ("The second half is below the order of the group.", _unreduced(signature)),
        },
    )
    v.bads(
        "values",
        of,
        {
            "other value": ("Another value was signed.", [hashed("other"), *of["values"][1:]]),
            "value missing": ("All values were signed.", of["values"][:-1]),
            "number as text": ("Values were signed as they were.", [*of["values"][:-1], 1]),
        },
    )
    v.bads(
        "public",
        of,
        {
            "other signer": ("Another identity signed.", public_of("graz")),
            "key cut": ("A key has 32 bytes.", signer.public[:-2]),
            "key empty": ("There is no key.", ""),
        },
    )
    v.bads("kind", of, {"other kind": ("It was signed as another kind.", "party key")})
    return "The identity `public` signed the statement; `signed` are the bytes under the signature."


def _unreduced(signature: str) -> str:
    raw = bytes.fromhex(signature)
    order = 2**252 + 27742317777372353535851937790883648493
    return (raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")).hex()


def party_key(v: Any) -> str:
    told, under = pinned(), terms_of(pinned())
    signer = identity_of(IDENTITIES["party-1"])

    def made(raw: bytes, study: str = hashed("study"), run: str = "run-1", index: int = 1) -> dict[str, str]:
        vouched = [study, run, under.digest, index, raw.hex()]
        return {"public": raw.hex(), "signature": signer.sign("party key", vouched).hex()}

    raw = party_key_of(KEYS[1]).public.raw
    right = made(raw)
    given = {"study": hashed("study"), "run": "run-1", "terms": told, "party": 1, "identity": signer.public}
    of = v.good("a party's key for a run", told=right, **given)
    signature = right["signature"]
    v.bads(
        "told",
        of,
        {
            "unknown field": ("Only key and signature travel.", right | {"more": ""}),
            "upper case": ("Bytes have one text, in lower-case digits.", right | {"signature": signature.upper()}),
            "no hex": ("Hex digits, nothing else.", right | {"signature": signature[:-1] + " "}),
            "truncated": ("A key has 1216 bytes.", made(raw[:-1])),
            "over long": ("A key has 1216 bytes.", made(raw + b"\0")),
            "coefficients out of range": ("ML-KEM coefficients are below 3329.", made(b"\xff" * 1184 + raw[1184:])),
            "low order point": ("With this X25519 point all secrets are zero.", made(raw[:1184] + LOW_ORDER[0])),
            "other low order point": ("With this X25519 point all secrets are zero.", made(raw[:1184] + LOW_ORDER[2])),
            "another run": ("It was signed for another run.", made(raw, run="run-2")),
            "another study": ("It was signed for another Study.", made(raw, study=hashed("other"))),
            "another party": ("It was signed as another party.", made(raw, index=0)),
            "signature altered": ("A bit of the signature is another.", right | {"signature": flipped(signature, 3)}),
        },
    )
    v.bads("terms", of, {"other terms": ("It was signed for other terms.", pinned(quorum=3))})
    v.bads("identity", of, {"other signer": ("Another identity signed it.", public_of("party-0"))})
    return (
        "A site takes a party's key for a run: signed by its identity, and one to which it can seal. Gives its SHA-256."
    )


def stamp(v: Any) -> str:
    parts = [bytes.fromhex(hashed("part", index, size=20)) for index in range(PARTIES)]
    signer = identity_of(IDENTITIES["berlin"])

    def made(digest: str = hashed("query"), site: str = "berlin", by: Any = signer, held: Any = parts) -> str:
        class Asked:
            pass

        asked = Asked()
        asked.digest = digest
        return bundle.sign(asked, site, held, by).hex()

    right = made()
    given = {"query": hashed("query"), "site": "berlin", "identity": signer.public, "stamp": right}
    for index in range(PARTIES):
        of = v.good(f"for party {index}", party=index, part=parts[index].hex(), **given)
    v.bads(
        "stamp",
        of,
        {
            "truncated": ("A stamp has 165 bytes.", right[:-2]),
            "over long": ("A stamp has 165 bytes.", right + "00"),
            "magic": ("A stamp begins with FGBN.", b"FGPT".hex() + right[8:]),
            "version": ("The version is 1.", flipped(right, 4, 3)),
            "other query": ("It was made for another query.", made(digest=hashed("other"))),
            "other site": ("It was made for another site.", made(site="graz")),
            "other signer": ("Another site's identity signed it.", made(by=identity_of(IDENTITIES["graz"]))),
            "parts in another order": ("The parts stand in another order.", made(held=parts[::-1])),
            "hash altered": ("A part's hash is another than was signed.", flipped(right, 5)),
            "signature altered": ("A bit of the signature is another.", flipped(right, 164, 128)),
        },
    )
    v.bads(
        "part",
        of,
        {
            "part altered": ("A bit of the part is another.", flipped(parts[2].hex(), 0)),
            "part of another party": ("The part is that of another party.", parts[0].hex()),
        },
    )
    v.bads("party", of, {"other place": ("The part is right, at another party's place.", 1)})
    return "A site's stamp vouches for the part at a party's place. Gives the part's SHA-256."


def numbers(v: Any) -> str:
    ties = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999999999999994, -0.0, 0.0]
    v.good("halves go to the even neighbour", numbers=[x.hex() for x in ties], scale=1.0, width=32)
    v.good("scaled, both signs", numbers=[x.hex() for x in (1.5, -0.25, 1e-9, -3.125)], scale=1024.0, width=32)
    v.good("scale below one", numbers=[x.hex() for x in (1000.0, -1001.0)], scale=2.0**-3, width=64)
    edge = 2.0**30 - 1
    v.good("edges of 32 bits", numbers=[x.hex() for x in (edge, -edge, 2.0**30 - 2**-22)], scale=1.0, width=32)
    edge = 2.0**62 - 2.0**9
    v.good("edges of 64 bits", numbers=[x.hex() for x in (edge, -edge, 2.0**53 + 2)], scale=1.0, width=64)
    of = {"numbers": [(1.0).hex()], "scale": 4.0, "width": 32}
    v.bads(
        "numbers",
        of,
        {
            "NaN": ("NaN is no number.", ["nan"]),
            "infinity": ("An infinity is no number.", ["-inf"]),
            "too large": ("Numbers are below 2^30 ring units.", [(2.0**28).hex()]),
            "too small": ("Numbers are above -2^30 ring units.", [(-(2.0**28)).hex()]),
            "overflow": ("The product overflows.", [(1.7e308).hex()]),
        },
    )
    v.bads(
        "scale",
        of,
        {"scale no power of two": ("A scale is a power of two.", 3.0), "scale zero": ("A scale is positive.", 0.0)},
    )
    v.bads("width", of, {"other width": ("A ring has 32 or 64 bits.", 16)})
    return "Numbers (hexadecimal floats) and scale give ring words, and those words read back."


def context(v: Any) -> str:
    given = {"query": hashed("query"), "attempt": 0, "site": "berlin", "party": 0}
    v.good("plain names", run="run-1", **given)
    v.good(
        "lengths count bytes of UTF-8, not letters",
        run="Wien 😀",
        **given | {"site": "größe", "attempt": 12, "party": 2},
    )
    v.good("empty run", run="", **given)
    return (
        "What ties a share to one run, query, attempt, site and party. Any names have a context: there are no bad ones."
    )


def mask(v: Any) -> str:
    given = {"context": hashed("context", size=90)}
    for width, size in itertools.product((32, 64), (1, (1 << 17) + 12, (1 << 19) + 20)):
        count = max(1, size * 8 // width)
        v.good(f"{count} words of {width} bits", seed=hashed("seed", width), width=width, count=count, **given)
    of = {"seed": hashed("seed"), "width": 32, "count": 4, **given}
    short, long = of["seed"][:-2], of["seed"] + "00"
    v.bads("seed", of, {"truncated": ("A seed has 32 bytes.", short), "over long": ("A seed has 32 bytes.", long)})
    return "Seed and context give a mask: its first 32 bytes, and the SHA-256 of all, little-endian."


def sealed_secret(v: Any) -> str:
    info, secret = hashed("info", size=50), bytes.fromhex(hashed("secret"))
    with v.seals.drawing("sealed secret"):
        right = v.seals.seal(secret, v.seals.public(KEYS[0]), bytes.fromhex(info)).hex()
        v.seals.seal(secret, v.seals.public(KEYS[1]), b"")
    of = {"key": KEYS[0], "info": info, "sealed": right}
    for number, (key, context, _, sealed) in enumerate(dict.fromkeys(v.seals.used)):
        v.good(f"secret {number}", key=key, info=context, sealed=sealed)
    point = 2 * (1120 - 32)
    v.bads(
        "sealed",
        of,
        {
            "truncated": ("A sealed secret has 1168 bytes.", right[:-2]),
            "over long": ("A sealed secret has 1168 bytes.", right + "00"),
            "empty": ("A sealed secret has 1168 bytes.", ""),
            "lattice part altered": ("A bit of the ML-KEM ciphertext is another.", flipped(right, 5)),
            "curve part altered": ("A bit of the X25519 share is another.", flipped(right, 1100)),
            "top bit of the point": ("X25519 ignores this bit; the combiner does not.", flipped(right, 1119, 128)),
            "low order point": (
                "With this X25519 share the secret is zero.",
                right[:point] + LOW_ORDER[1].hex() + right[2240:],
            ),
            "text altered": ("A bit of the sealed text is another.", flipped(right, 1130)),
            "tag altered": ("A bit of the tag is another.", flipped(right, 1167)),
        },
    )
    v.bads(
        "info",
        of,
        {
            "other context": ("It was sealed under another info.", hashed("other")),
            "no context": ("It was sealed under an info.", ""),
        },
    )
    v.bads("key", of, {"other key": ("It was sealed to another key.", KEYS[2])})
    return "A party's private key (ML-KEM-768 seed of 64 bytes, X25519 key of 32) and `info` open a sealed secret."


def sealed_vector(v: Any) -> str:
    info, chunk = hashed("vector", size=40), envelope.CHUNK_BYTES
    with v.seals.drawing("sealed vector"):
        sealed = v.seals.seal(bytes.fromhex(hashed("content")), v.seals.public(KEYS[0]), bytes.fromhex(info)).hex()
    given = {"key": KEYS[0], "info": info, "sealed": sealed}
    for width, size in ((32, 4), (64, chunk - 8), (32, chunk), (64, chunk + 8), (32, 2 * chunk + 12)):
        whole = envelope.vector_bytes(size)
        of = v.good(f"{size} bytes of {width} bits", width=width, count=size * 8 // width, spans=[[0, whole]], **given)
    start, step = envelope.SMALL_BYTES, chunk + envelope.TAG_BYTES
    key, first, second = [0, start], [start, start + step], [start + step, start + 2 * step]
    last = [start + 2 * step, whole]
    v.bads(
        "spans",
        of,
        {
            "no chunk": ("There is at least one chunk.", [key]),
            "last chunk missing": ("The last chunk, marked so, is missing.", [key, first, second]),
            "first chunk missing": ("The first chunk is missing.", [key, second, last]),
            "middle chunk missing": ("The middle chunk is missing.", [key, first, last]),
            "only the last": ("The first two chunks are missing.", [key, last]),
            "chunks swapped": ("Two chunks changed places.", [key, second, first, last]),
            "chunk repeated": ("A chunk stands twice.", [key, first, first, second, last]),
            "last chunk repeated": ("The last chunk stands twice.", [key, first, second, last, last]),
            "truncated": ("The last byte is missing.", [[0, whole - 1]]),
            "cut in a tag": ("The end is missing from within a tag on.", [[0, whole - 10]]),
            "over long": ("A byte too many.", [[0, whole], [0, 1]]),
            "secret truncated": ("The sealed content key is short of a byte.", [[0, start - 1], [start, whole]]),
        },
    )
    return (
        "A vector of the words 0, 1, 2, …, sealed under the content key that `sealed` holds: `sealed`, then its chunks."
        " Of those bytes `spans` are put together: that is what arrives. Gives SHA-256 of this and of the words."
    )


def part(v: Any) -> str:
    for width in (64, 32):
        made = small(width)
        given = {name: made[name] for name in ("header", "terms")}
        parts = sealed_by(v, made, "graz")
        of = [
            v.good(f"graz, party {i}, {width} bits", site="graz", party=i, key=KEYS[i], part=parts[i].hex(), **given)
            for i in range(PARTIES)
        ]
    for name, one in (("seed", of[0]), ("vector", of[1])):
        _bad_parts(v, name, one)
    again = asked(made, attempt=1)
    v.bads("header", of[0], {"seed of another attempt": ("It was sealed for another attempt.", again)})
    v.bads("header", of[1], {"vector of another query": ("It was sealed for another query.", asked(made, step=8))})
    v.bads("site", of[1], {"vector of another site": ("It was sealed by another site.", "berlin")})
    v.bads("site", of[0], {"seed of another site": ("It was sealed by another site.", "vienna")})
    v.bads("key", of[0], {"seed for another key": ("It was sealed to another key.", KEYS[2])})
    v.bads("part", of[0], {"seed of another party": ("It was sealed to another party.", of[2]["part"])})
    v.bads("part", of[1], {"seed where the vector is due": ("The vector is due here.", of[0]["part"])})
    v.bads("part", of[0], {"vector where a seed is due": ("A seed is due here.", of[1]["part"])})
    return "A part, under query, terms, site and party's key, gives the share: ring words."


def _bad_parts(v: Any, name: str, of: dict[str, Any]) -> None:
    right = of["part"]
    size = len(right) // 2 - bundle.HEADER.size
    wrongs = {
        "magic": ("A part begins with FGPT.", b"FGBN".hex() + right[8:]),
        "version": ("The version is 1.", flipped(right, 4, 3)),
        "kind": ("The kind is the other one.", flipped(right, 5)),
        "unknown kind": ("The kind is 0 or 1.", flipped(right, 5, 2)),
        "wrong length": ("The length is another than follows.", right[:12] + f"{size + 1:016x}" + right[28:]),
        "truncated": ("The last byte is missing.", right[:-2]),
        "shorter and says so": (
            "The length is another than the query gives.",
            right[:12] + f"{size - 1:016x}" + right[28:-2],
        ),
        "over-long": ("A byte too many.", right + "00"),
        "header alone": ("There is no body.", right[:28]),
        "altered": ("A bit of the body is another.", flipped(right, len(right) // 2 - 1)),
    }
    for label, (wrong, value) in wrongs.items():
        v.bad(f"{name}: {label}", wrong, **of | {"part": value})


def total(v: Any) -> str:
    made = small(32)
    query = query_of(made["header"], made["terms"])
    sites = {}
    for site in SITES:
        parts = sealed_by(v, made, site)
        signed = bundle.sign(query, site, parts, identity_of(IDENTITIES[site]))
        told = {"identity": public_of(site), "parts": [one.hex() for one in parts], "stamp": signed.hex()}
        sites[site] = told | {"words": words_of(made, site).tobytes().hex()}
    of = v.good("three sites, three parties", keys=KEYS, sites=sites, header=made["header"], terms=made["terms"])
    berlin, graz = sites["berlin"], sites["graz"]
    place = bundle.HEADER.size + envelope.SMALL_BYTES  # the first byte of a vector's chunk; seeds end before it
    altered = [flipped(part, place) if len(part) > 2 * place else part for part in berlin["parts"]]
    wrongs = {
        "parts in another order": ("The stamp tells each part's place.", berlin | {"parts": berlin["parts"][::-1]}),
        "part of another site": ("The stamp is for other parts.", berlin | {"parts": graz["parts"]}),
        "chunk altered": ("The stamp is for the tag; a chunk fails to open.", berlin | {"parts": altered}),
        "bundle of another site": ("Graz signed this.", graz | {"identity": berlin["identity"]}),
        "stamp of another site": ("Graz signed other parts.", berlin | {"stamp": graz["stamp"]}),
        "identity of another site": ("Berlin signed this.", berlin | {"identity": graz["identity"]}),
    }
    v.bads("sites", of, {name: (why, sites | {"berlin": told}) for name, (why, told) in wrongs.items()})
    v.bads("keys", of, {"keys in another order": ("A part opens for its party alone.", KEYS[::-1])})
    return (
        "Sites' parts and stamps, under query, terms and the parties' keys, give each party's accumulator and the"
        " opened sum. `words` are what each site shared: they add up to `integers`."
    )
