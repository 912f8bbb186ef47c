"""Keys of one secure session, and the streams that replace every generator of CrypTen (DESIGN §5, *select*).

CrypTen draws masks and triples from torch's MT19937, which keeps 32 bits of a seed; its dealer draws
all parties' seeds from one such generator, so that any party finds the others' from its own by trying
2^32. Here each pair of roles has a secret that nobody else can compute: X25519 between keys made for
the session, each signed by its role's identity in the roster, then HKDF over session, roster and both
keys. AES-256-CTR streams of it stand in for CrypTen's generators, and whatever would still draw from
torch raises.

torch and CrypTen are handed in: the dealer, which imports this module, has neither.
"""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NoReturn, Self

import numpy as np
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedgenome.errors import SpecError, WireError, require
from fedgenome.query import PARTIES, digest_of
from fedgenome.streams import Stream

ROLES = (*(f"party-{rank}" for rank in range(PARTIES)), "dealer")
DEALER = PARTIES  # its rank

_CLOCKS = datetime.timedelta(days=1)  # by which machines' clocks may differ
_LIFE = datetime.timedelta(days=30)  # longer than any session; freshness comes from the keys, not from dates


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Who meets, for what and where. Plain strings, so that JSON can carry it.

    Attributes:
        session: What the keys are for (run, terms, …). Two sessions of one name still have other keys.
        identities: Ed25519 public keys as hex, by rank: the three parties, then the dealer.
        addresses: Where each party listens: an absolute path, or ``host:port``.
    """

    session: str
    identities: tuple[str, ...]
    addresses: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "identities", tuple(self.identities))
        object.__setattr__(self, "addresses", tuple(self.addresses))
        require(len(self.identities) == len(set(self.identities)) == len(ROLES), "four different identities")
        require(all(len(_unhex(key)) == 32 for key in self.identities), "identities of 32 bytes, in hex")
        require(len(self.addresses) == PARTIES, f"{PARTIES} addresses", addresses=len(self.addresses))

    @property
    def digest(self) -> str:
        """Hex digest of session and roster; not of addresses, which depend on the point of view."""
        return digest_of("meeting", [self.session, list(self.identities)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A role's fresh keys for one session, and the word of its identity for them.

    Attributes:
        rank: The role.
        tls: Signs TLS handshakes.
        certificate: DER, of ``tls`` by itself: TLS wants one. All that it says is its key.
        shown: What others are shown: X25519 key, 32 bytes | signature, 64 bytes | certificate. The role's
            identity signs meeting, role, X25519 key and certificate.
    """

    rank: int
    tls: Ed25519PrivateKey = field(repr=False)
    certificate: bytes
    shown: bytes
    _exchange: X25519PrivateKey = field(repr=False)

    @classmethod
    def make(cls, meeting: Meeting, rank: int, identity: Ed25519PrivateKey) -> Self:
        """Make keys and certificate.

        Raises:
            SpecError: ``identity`` is not the one that the meeting's roster gives the role.
        """
        own = identity.public_key().public_bytes_raw().hex()
        require(own == meeting.identities[rank], f"the roster's identity of {ROLES[rank]}", identity=own)
        tls, exchange = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
        certificate = _certify(tls, ROLES[rank])
        public = exchange.public_key().public_bytes_raw()
        shown = public + identity.sign(_signed(meeting, rank, public, certificate)) + certificate
        return cls(rank=rank, tls=tls, certificate=certificate, shown=shown, _exchange=exchange)

    def meet(self, meeting: Meeting, rank: int, shown: bytes) -> tuple[bytes, bytes]:
        """Return the certificate of ``rank``, and 32 bytes that this role shares with it and nobody else.

        Nothing is parsed before the signature over it is verified.

        Raises:
            WireError: another identity signed what was shown, or for another session or role, or no
                secret can be shared with its key.
        """
        public, signature, certificate = shown[:32], shown[32:96], shown[96:]
        identity = Ed25519PublicKey.from_public_bytes(bytes.fromhex(meeting.identities[rank]))
        try:
            identity.verify(signature, _signed(meeting, rank, public, certificate))
        except InvalidSignature:
            raise WireError(f"{ROLES[rank]}: not the roster's identity, or not for this session") from None
        keys = {self.rank: self._exchange.public_key().public_bytes_raw(), rank: public}
        info = b"fedgenome pair 1" + b"".join(bytes([one]) + keys[one] for one in sorted(keys))
        hkdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=bytes.fromhex(meeting.digest), info=info)
        try:
            return certificate, hkdf.derive(self._exchange.exchange(X25519PublicKey.from_public_bytes(public)))
        except ValueError:  # a point of low order
            raise WireError(f"{ROLES[rank]}: no secret can be shared with its key") from None


def stream_key(secret: bytes, purpose: str) -> bytes:
    """Return the key of a pair's stream for one purpose (32 bytes); other purposes have others."""
    hkdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"fedgenome stream 1" + purpose.encode())
    return hkdf.derive(secret)


def _signed(meeting: Meeting, rank: int, public: bytes, certificate: bytes) -> bytes:
    return b"fedgenome pass 1" + bytes.fromhex(meeting.digest) + bytes([rank]) + public + certificate


def _certify(key: Ed25519PrivateKey, role: str) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, role)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _CLOCKS)
        .not_valid_after(now + _LIFE)
        .sign(key, None)
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


# ── CrypTen's generators ─────────────────────────────────────────────────────────────────────────

# Everything public of torch that draws: the functions and methods whose operators it marks
# "nondeterministic_seeded" (compared in tests), beside the generator itself.
TORCH_DRAWS = (
    *("alpha_dropout", "alpha_dropout_", "bernoulli", "binomial", "dropout", "dropout_", "feature_alpha_dropout"),
    *("feature_alpha_dropout_", "feature_dropout", "feature_dropout_", "gru", "lstm", "miopen_rnn", "multinomial"),
    *("native_dropout", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like"),
    *("randperm", "rnn_relu", "rnn_tanh", "rrelu", "rrelu_"),
)
TENSOR_DRAWS = (
    *("bernoulli", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "multinomial", "normal_"),
    *("random_", "uniform_"),
)


def replace(crypten: ModuleType, torch: ModuleType, streams: Mapping[str, Stream]) -> None:
    """Take every generator out of CrypTen and torch, for the rest of the process's life.

    Args:
        crypten: The package, not initialised.
        torch: The package.
        streams: ``prev`` and ``next`` (shared with the parties before and after this one, for sharings
            of zero) and ``local`` (this party's own). ``global``, which all would share, is refused.

    Raises:
        SpecError: CrypTen is initialised: seeds have been drawn.
    """
    require(not crypten.is_initialized(), "CrypTen not initialised before its generators are replaced")
    cpu = torch.device("cpu")
    for name in crypten.generators:
        crypten.generators[name] = {cpu: streams.get(name, _NOBODY)}
    rng: Any = crypten.common.rng
    elements, bits = _draws(torch, streams["local"])
    _substitute(rng.generate_random_ring_element, elements)
    _substitute(rng.generate_kbit_random_tensor, bits)
    _refuse_crypten(crypten)
    _refuse_torch(torch)


def _refuse_crypten(crypten: ModuleType) -> None:
    """Refuse what CrypTen seeds generators with, its dealers, and what it pickles with."""
    _forbid(crypten, "CrypTen's seeds", "_setup_prng", "_sync_seeds", "manual_seed")
    provider: Any = crypten.mpc.provider
    client = provider.ttp_provider.TTPClient
    _forbid(client, "CrypTen's TTP", "_init", "get")
    _forbid(vars(client)["_TTPClient__TTPClient"], "CrypTen's TTP", "__init__", "_setup_generators", "ttp_request")
    _forbid(provider.TTPServer, "CrypTen's TTP", "__init__", "_setup_generators")
    _forbid(provider.TrustedFirstParty, "TFP", *_TUPLES)
    _forbid(provider.TrustedThirdParty, "CrypTen's TTP", *_TUPLES)
    _forbid(provider.HomomorphicProvider, "HE", *_TUPLES)
    for communicator in (crypten.communicator.DistributedCommunicator, crypten.communicator.InProcessCommunicator):
        _forbid(communicator, "pickle", "send_obj", "recv_obj", "broadcast_obj")
    _forbid(crypten.common.serial, "pickle", "restricted_loads")


def _refuse_torch(torch: Any) -> None:
    _forbid(torch, "torch's generators", *TORCH_DRAWS)
    _forbid(torch.Tensor, "torch's generators", *TENSOR_DRAWS)
    # Still a class: parts of torch that are imported later name it in annotations.
    torch.Generator = type("Generator", (), {"__new__": refusing("torch's generators: Generator")})


_TUPLES = ("generate_additive_triple", "square", "generate_binary_triple", "wrap_rng", "B2A_rng")
_NOBODY = object()  # not a stream, hence refused where it is drawn from; None would mean the local one


def _draws(torch: ModuleType, local: Stream) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what replaces CrypTen's two functions; both take its arguments."""

    def words(size: Any, generator: object) -> Any:
        source = local if generator is None else generator
        require(isinstance(source, Stream), "a keyed stream to draw from", generator=type(source).__name__)
        drawn = source.words(math.prod(size))  # type: ignore[attr-defined]
        return torch.from_numpy(drawn.view(np.int64)).reshape(tuple(size))

    def elements(size: Any, ring_size: int = 2**64, generator: object = None, device: object = None) -> Any:
        require(ring_size == 2**64 and str(device or "cpu") == "cpu", "elements of Z_2^64 on the CPU")
        return words(size, generator)

    def bits(size: Any, bitlength: int | None = None, generator: object = None, device: object = None) -> Any:
        length = 64 if bitlength is None else bitlength
        require(1 <= length <= 64 and str(device or "cpu") == "cpu", "1 to 64 bits on the CPU", bitlength=length)
        drawn = words(size, generator)
        return drawn if length == 64 else drawn & ((1 << length) - 1)

    return elements, bits


def _substitute(old: object, new: object) -> None:
    """Replace a function in every module of CrypTen that holds it: most import it by name."""
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "crypten"]:
        for name in [name for name, held in vars(module).items() if held is old]:
            setattr(module, name, new)


def _forbid(owner: Any, what: str, *names: str) -> None:
    for name in names:
        setattr(owner, name, refusing(f"{what}: {name}"))


def refusing(what: str) -> Callable[..., NoReturn]:
    """Return a function that raises SpecError whatever it is called with; ``what`` says who it stands for."""

    def refuse(*_: object, **__: object) -> NoReturn:
        # No RuntimeError: CrypTen takes one for a lack of memory, and goes on with another protocol.
        raise SpecError(f"expected keyed streams, our dealer and no pickle; {what} is refused")

    return refuse
