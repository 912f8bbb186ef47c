"""A pair's keys are its own; CrypTen and torch draw from nothing else; the attack on CrypTen's seeds fails."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgenome.errors import SpecError, WireError
from fedgenome.secure import generators
from fedgenome.secure.generators import ROLES, Meeting, Pass, stream_key

IDENTITIES = [Ed25519PrivateKey.from_private_bytes(bytes([rank]) * 32) for rank in range(4)]
PUBLICS = tuple(key.public_key().public_bytes_raw().hex() for key in IDENTITIES)


def meet(**other):
    return Meeting(**{"session": "run 1", "identities": PUBLICS, "addresses": ("/a", "/b", "/c")} | other)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def secret(one, two, **other):
    return one.meet(meet(**other), two.rank, two.shown)[1]


def test_a_pair_has_one_secret_that_no_other_pair_and_no_other_time_has():
    times = [[Pass.make(meet(), rank, IDENTITIES[rank]) for rank in range(4)] for _ in range(2)]
    pairs = [(one, two) for passes in times for one in passes for two in passes[one.rank + 1 :]]
    secrets = [(secret(one, two), secret(two, one)) for one, two in pairs]
    assert all(mine == theirs for mine, theirs in secrets)
    assert len({mine for mine, _ in secrets}) == len(secrets) == 12


def test_what_is_shown_is_trusted_as_the_role_s_certificate():
    one, two = (Pass.make(meet(), rank, IDENTITIES[rank]) for rank in range(2))
    certificate, _ = one.meet(meet(), 1, two.shown)
    assert certificate == two.certificate
    held = x509.load_der_x509_certificate(certificate)
    assert held.public_key() == two.tls.public_key()
    assert (held.not_valid_after_utc - held.not_valid_before_utc).days == 31


def test_session_and_roster_are_in_the_secret():
    # The same X25519 keys in other meetings: two, were they ever used again, would still not share a secret.
    one, two = (Pass.make(meet(), rank, IDENTITIES[rank]) for rank in range(2))
    public = two.shown[:32]
    secrets = {one._exchange.exchange(two._exchange.public_key())}
    for other in (meet(), meet(session="run 2"), meet(identities=(*PUBLICS[:2], PUBLICS[3], PUBLICS[2]))):
        signature = IDENTITIES[1].sign(generators._signed(other, 1, public, two.certificate))
        secrets.add(one.meet(other, 1, public + signature + two.certificate)[1])
    assert len(secrets) == 4
    assert meet().digest == meet(addresses=("/x", "h:1", "/z")).digest


def test_purposes_have_streams_of_their_own():
    assert len({stream_key(bytes(32), purpose) for purpose in ("zero", "tuples", "")}) == 3


@pytest.mark.parametrize(
    ("made_for", "rank", "signer"),
    [
        ({"session": "run 2"}, 1, 1),
        ({}, 2, 2),
        ({"identities": (PUBLICS[0], PUBLICS[3], PUBLICS[2], PUBLICS[1])}, 1, 3),
        ({"identities": (PUBLICS[1], PUBLICS[0], *PUBLICS[2:])}, 0, 1),
    ],
    ids=["session", "role", "stranger's roster", "own place in another roster"],
)
def test_pass_of_another_is_refused(made_for, rank, signer):
    other = Pass.make(meet(**made_for), rank, IDENTITIES[signer])
    with pytest.raises(WireError, match=r"^party-1: not the roster's identity, or not for this session$"):
        Pass.make(meet(), 0, IDENTITIES[0]).meet(meet(), 1, other.shown)


def test_no_byte_of_a_pass_may_differ():
    own, shown = (Pass.make(meet(), rank, IDENTITIES[rank]) for rank in range(2))
    altered = [
        bytes([*shown.shown[:at], shown.shown[at] ^ 1, *shown.shown[at + 1 :]]) for at in range(len(shown.shown))
    ]
    for other in [*altered, b"", shown.shown[:95], shown.shown[:-1], shown.shown + b"\0"]:
        with pytest.raises(WireError, match="party-1: not the roster's identity"):
            own.meet(meet(), 1, other)


def test_key_that_shares_no_secret_is_refused():
    own, low = Pass.make(meet(), 0, IDENTITIES[0]), bytes(32)
    signed = IDENTITIES[3].sign(generators._signed(meet(), 3, low, b""))
    with pytest.raises(WireError, match="dealer: no secret can be shared with its key"):
        own.meet(meet(), 3, low + signed)


def test_identity_must_be_the_roster_s():
    with pytest.raises(SpecError, match="expected the roster's identity of party-0"):
        Pass.make(meet(), 0, IDENTITIES[1])


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"identities": PUBLICS[:3]}, "four different identities"),
        ({"identities": (*PUBLICS[:3], PUBLICS[0])}, "four different identities"),
        ({"identities": (*PUBLICS[:3], "ab")}, "identities of 32 bytes"),
        ({"identities": (*PUBLICS[:3], "not hex")}, "identities of 32 bytes"),
        ({"addresses": ("/a", "/b")}, "3 addresses"),
    ],
)
def test_meeting_needs_four_identities_and_three_addresses(wrong, rule):
    with pytest.raises(SpecError, match=f"expected {rule}"):
        meet(**wrong)


def test_meeting_survives_json():
    assert Meeting(**json.loads(json.dumps(dataclasses.asdict(meet())))) == meet()


def test_no_key_is_in_a_text():
    own = Pass.make(meet(), 0, IDENTITIES[0])
    assert re.sub(r"shown=b.*|certificate=b.*", "", repr(own)) == "Pass(rank=0, "
    assert ROLES == ("party-0", "party-1", "party-2", "dealer")


# ── CrypTen and torch, in a process of their own: what is replaced stays so ──────────────────────

# The seed lies in a window of 2^16 of the 2^32 that torch's generator tells apart, so that the search
# takes a second here; over all of them it takes minutes.
PROBE = """
import json, sys
import numpy as np
from types import SimpleNamespace
from fedgenome.secure import crypten_runtime, generators
from fedgenome.streams import Stream

crypten = crypten_runtime.load()
import torch
from crypten.mpc.provider import ttp_provider

Generator, randint, seeded = torch.Generator, torch.randint, torch.manual_seed
WINDOW = range(0x5EED0000, 0x5EED0000 + 2**16)
SECRET = WINDOW[0] + int(sys.argv[1])
found = {}

def attack(view):
    # Try seeds of the dealer until what it drew for three parties holds something that this party knows.
    generator, known = Generator(), set(view)
    for seed in WINDOW:
        generator.manual_seed(seed)
        drawn = randint(-(2**63), 2**63 - 1, (3,), generator=generator).tolist()
        if known & set(drawn):
            return drawn
    return None

def ttp():
    # CrypTen's own dealer sets up its generators; what it sends to each party is kept.
    sent = {}
    crypten.communicator.get = lambda: SimpleNamespace(get_world_size=lambda: 3)
    def isend(tensor, dst, group):
        sent[dst] = tensor.item()
        return SimpleNamespace(wait=lambda: None)
    ttp_provider.dist = SimpleNamespace(isend=isend, barrier=lambda group: None)
    server = object.__new__(ttp_provider.TTPServer)
    server.ttp_group = None
    server._setup_generators()
    return sent, server

def error(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as fault:
        return f"{type(fault).__name__}: {fault}"
    return None

def tagged():
    names = set()
    for name in torch._C._dispatch_get_all_op_names():
        base, _, overload = name.removeprefix("aten::").partition(".")
        if name.startswith("aten::") and not base.startswith("_") and hasattr(torch.ops.aten, base):
            held = getattr(getattr(torch.ops.aten, base), overload or "default", None)
            if held is not None and torch.Tag.nondeterministic_seeded in held.tags:
                names.add(base)
    functions = {name for name in names if callable(getattr(torch, name, None))}
    return sorted(functions), sorted(name for name in names if hasattr(torch.Tensor, name))

# Unpatched.
one, other = Generator(), Generator()
found["low 32 bits"] = [
    randint(0, 2**62, (4,), generator=one.manual_seed(seed)).tolist() for seed in (SECRET, SECRET + 2**32)
]
seeded(SECRET)
sent, server = ttp()
guess = attack([sent[1]])
victim = other.manual_seed(guess[2]) if guess else other
found["unpatched"] = {
    "sent": [sent[rank] for rank in range(3)],
    "guess": guess,
    "share": ttp_provider.generate_random_ring_element((8,), generator=server.generators[2]).tolist(),
    "guessed share": ttp_provider.generate_random_ring_element((8,), generator=victim).tolist(),
}
found["tagged"] = tagged()

# Patched, over the same state of torch's generator.
seeded(SECRET)
key = bytes(range(32))
originals = (crypten.common.rng.generate_random_ring_element, crypten.common.rng.generate_kbit_random_tensor)
crypten.communicator.is_initialized = lambda: True
found["late"] = error(generators.replace, crypten, torch, {"local": Stream(key)})
crypten.communicator.is_initialized = lambda: False
streams = {name: Stream(key) for name in ("prev", "next", "local")}
generators.replace(crypten, torch, streams)
elements = crypten.mpc.primitives.arithmetic.generate_random_ring_element
bits = ttp_provider.generate_kbit_random_tensor
held = Stream(key).words(4096).view(np.int64).tolist() + np.frombuffer(key, np.int64).tolist()
found["patched"] = {"guess": attack(held), "setup": error(ttp)}
found["left"] = [
    name for name, module in list(sys.modules.items()) if name.startswith("crypten")
    for value in vars(module).values() if any(value is one for one in originals)
]
found["same"] = {
    "elements": elements((3, 4), generator=Stream(key)).flatten().tolist() == held[:12],
    "torch size": elements(torch.Size([12]), device=torch.device("cpu"), generator=Stream(key)).tolist() == held[:12],
    "64 bits": bits((12,), generator=Stream(key)).tolist() == held[:12],
    "3 bits": bits((12,), bitlength=3, generator=Stream(key)).tolist() == [word & 7 for word in held[:12]],
    "local": [elements((2,)).tolist(), bits((2,)).tolist()] == [held[:2], held[2:4]],
    "zero": crypten.mpc.primitives.ArithmeticSharedTensor.PRZS((5,)).share.tolist() == [0] * 5,
}
cpu, tensor = torch.device("cpu"), torch.zeros(3)
found["refused"] = {
    "torch generator": error(elements, (3,), generator=one),
    "torch generator, bits": error(bits, (3,), bitlength=1, generator=one),
    "global": error(elements, (3,), generator=crypten.generators["global"][cpu]),
    "ring": error(elements, (3,), ring_size=2**32),
    "device": error(elements, (3,), device="cuda"),
    **{f"torch.{name}": error(getattr(torch, name), tensor) for name in generators.TORCH_DRAWS},
    **{f"tensor.{name}": error(getattr(tensor, name)) for name in generators.TENSOR_DRAWS},
    "torch.Generator": error(torch.Generator),
    "seeds": error(crypten._setup_prng),
    "seed": error(crypten.manual_seed, 1, 2, 3),
    "server": error(ttp_provider.TTPServer),
    "client": error(ttp_provider.TTPClient._init),
    **{
        f"{name}.{function}": error(getattr(getattr(crypten.mpc.provider, name)(), function), (3,), (3,))
        for name in ("TrustedFirstParty", "TrustedThirdParty", "HomomorphicProvider")
        for function in ("generate_additive_triple", "square", "generate_binary_triple", "wrap_rng", "B2A_rng")
    },
    **{
        f"{cls.__name__}.{name}": error(getattr(object.__new__(cls), name), {}, 0)
        for cls in (crypten.communicator.DistributedCommunicator, crypten.communicator.InProcessCommunicator)
        for name in ("send_obj", "recv_obj", "broadcast_obj")
    },
    "loads": error(crypten.common.serial.restricted_loads, b"."),
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def probe():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, "40000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_torch_s_generator_keeps_32_bits_of_a_seed(probe):
    one, same = probe["low 32 bits"]
    assert one == same


def test_party_finds_the_others_seeds_from_its_own_in_crypten(probe):
    unpatched = probe["unpatched"]
    assert unpatched["guess"] == unpatched["sent"]
    assert unpatched["guessed share"] == unpatched["share"]


def test_the_same_search_finds_nothing_in_ours(probe):
    assert probe["patched"]["guess"] is None
    assert probe["patched"]["setup"].startswith("SpecError: expected keyed streams")


def test_no_module_of_crypten_keeps_a_generator(probe):
    assert probe["left"] == []


def test_crypten_draws_the_words_of_our_streams(probe):
    assert probe["same"] == dict.fromkeys(probe["same"], True)


def test_every_function_of_torch_that_draws_is_known(probe):
    functions, methods = probe["tagged"]
    assert functions == sorted(generators.TORCH_DRAWS)
    assert methods == sorted(generators.TENSOR_DRAWS)


def test_every_other_draw_and_every_pickle_raises(probe):
    kinds = {name: (why or "nothing").partition(":")[0] for name, why in probe["refused"].items()}
    assert kinds == dict.fromkeys(kinds, "SpecError")
    assert "expected a keyed stream to draw from, got generator='Generator'" in probe["refused"]["torch generator"]
    assert "pickle: send_obj is refused" in probe["refused"]["DistributedCommunicator.send_obj"]
    assert "TFP: square is refused" in probe["refused"]["TrustedFirstParty.square"]
    assert "torch's generators: randint is refused" in probe["refused"]["torch.randint"]


def test_generators_are_replaced_before_crypten_starts_or_not_at_all(probe):
    assert probe["late"].startswith("SpecError: expected CrypTen not initialised before")
