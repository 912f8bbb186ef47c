"""Vectors of what passes between parties and dealer; each function returns what its vectors mean."""

import struct
from typing import Any

from fedgenome.secure import dealer, joining, links
from fedgenome.secure.generators import Meeting, _signed
from fedgenome.secure.group import meeting
from tests.vectors.cases.roles import IDENTITIES, LOW_ORDER, flipped, hashed, pinned, public_of
from tests.vectors.library import identity_of, terms_of


def hello(v: Any) -> str:
    roles = ("party-0", "party-1", "party-2", "dealer")
    given = {"study": hashed("study"), "run": "run-1", "terms": pinned(), "identities": list(map(public_of, roles))}

    def meet(run: str) -> Meeting:
        return meeting(hashed("study"), run, terms_of(pinned()), given["identities"], ("/a", "/b", "/c"))

    certificate = b"a certificate in DER"

    def made(rank: int, told: Any = None, by: Any = None, run: str = "run-1", point: bytes | None = None) -> str:
        public = point or x25519_public(hashed("exchange", rank))
        signer = identity_of(IDENTITIES[by or roles[rank]])
        signature = signer.key.sign(_signed(meet(run), rank, public, certificate))
        shown = public + signature + certificate
        return (joining.HELLO.pack(b"FGTL", 1, rank if told is None else told, len(shown)) + shown).hex()

    given |= {"exchange": hashed("own"), "rank": 0}
    for rank in (1, 2, 3):
        of = v.good(f"from {roles[rank]}", hello=made(rank), **given)
    right = of["hello"]
    v.bads(
        "hello",
        of,
        {
            "magic": ("A greeting begins with FGTL.", b"FGLF".hex() + right[8:]),
            "version": ("The version is 1.", flipped(right, 4, 3)),
            "own rank": ("Callers have a higher rank.", made(0)),
            "rank 4": ("There is no such role.", made(3, told=4)),
            "other rank": ("It was signed as another role.", made(3, told=1)),
            "head truncated": ("A greeting has a head of 8 bytes.", right[:14]),
            "truncated": ("The last byte is missing.", right[:-2]),
            "longer than it says": (
                "Bytes are missing from what was signed.",
                right[:12] + f"{len(right) // 2 - 9:04x}" + right[16:],
            ),
            "pass too long": ("A pass has at most 2048 bytes.", right[:12] + "0801" + right[16:]),
            "pass empty": ("There is no pass.", right[:12] + "0000"),
            "other signer": ("Another identity signed it.", made(3, by="party-1")),
            "other session": ("It was signed for another session.", made(3, run="run-2")),
            "signature altered": ("A bit of the signature is another.", flipped(right, 50)),
            "certificate altered": ("A bit of the certificate is another.", flipped(right, len(right) // 2 - 1)),
            "low order point": ("With this X25519 point all secrets are zero.", made(3, point=LOW_ORDER[0])),
        },
    )
    v.bad("other terms", "It was signed under other terms.", **of | {"terms": pinned(quorum=3)})
    v.bad("other study", "It was signed for another Study.", **of | {"study": hashed("other")})
    return (
        "A greeting, at the role `rank` with the X25519 key `exchange` for Study, run and terms, gives the session, who"
        " calls, its certificate, the pair's secret, and the key of its stream `tuples`."
    )


def x25519_public(private: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(bytes.fromhex(private)).public_key().public_bytes_raw()


def link_frame(v: Any) -> str:
    request = dealer.REQUEST.pack(dealer.Function.AND, 5)
    bodies = {
        links.Kind.WELCOME: b"",
        links.Kind.AGREE: bytes.fromhex(hashed("set")),
        links.Kind.WORDS: bytes(range(16)),
        links.Kind.REQUEST: request,
        links.Kind.TUPLE: bytes(range(8)),
    }

    def made(kind: int, number: int, body: bytes, magic: bytes = b"FGLF", version: int = 1) -> str:
        return (links.HEAD.pack(magic, version, kind, number, len(body)) + body).hex()

    for kind in links.Kind:
        body = bodies.get(kind, b"\0" * 8)
        number = 0 if kind is links.Kind.WELCOME else 300
        v.good(kind.name, kind=kind.name, number=number, body_bytes=len(body), frame=made(kind, number, body))
    body = bodies[links.Kind.WORDS]
    of = {"kind": "WORDS", "number": 300, "body_bytes": 16, "frame": made(links.Kind.WORDS, 300, body)}
    v.bads(
        "frame",
        of,
        {
            "magic": ("A frame of a link begins with FGLF.", made(3, 300, body, magic=b"FGPF")),
            "version": ("The version is 1.", made(3, 300, body, version=2)),
            "other kind": ("Another kind is due.", made(5, 300, body)),
            "unknown kind": ("There is no such kind.", made(99, 300, body)),
            "repeated": ("A later number is due.", made(3, 299, body)),
            "skipped": ("An earlier number is due.", made(3, 301, body)),
            "shorter": ("A longer body is due.", made(3, 300, body[:8])),
            "longer": ("A shorter body is due.", made(3, 300, body + body)),
            "truncated": ("The last byte is missing.", of["frame"][:-2]),
            "over long": ("A byte follows that begins no frame that is due.", of["frame"] + "00"),
            "empty": ("The peer left.", ""),
        },
    )
    return "A frame between parties and dealer arrives where this kind, number and length are due; gives its body."


def tuple_request(v: Any) -> str:
    for function in dealer.Function:
        v.good(function.name, request=dealer.REQUEST.pack(function, 1000).hex())
    v.good("most", request=dealer.REQUEST.pack(1, dealer.MOST).hex())
    wrongs = {
        "function 0": ("There is no such function.", struct.pack(">BQ", 0, 1)),
        "function 4": ("There is no such function.", struct.pack(">BQ", max(dealer.Function) + 1, 1)),
        "no tuples": ("At least one tuple.", struct.pack(">BQ", 1, 0)),
        "too many": ("At most 2^26 tuples.", struct.pack(">BQ", 1, dealer.MOST + 1)),
        "little-endian": ("Counts are big-endian.", struct.pack("<BQ", 1, 5)),
    }
    for label, (wrong, raw) in wrongs.items():
        v.bad(label, wrong, request=raw.hex())
    return "Party 0's request to the dealer gives the function and how many tuples."
