"""What ``secure_sum`` is compared with: a plain sum, Flower's SecAgg+, CrypTen as its users add, CKKS.

Run with a rank and a rendezvous this file is one of the three processes of :class:`CrypTen`.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord
from flwr.client.mod.secure_aggregation.secaggplus_mod import SecAggPlusState, _collect_masked_vectors
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
from flwr.common.secure_aggregation.crypto import symmetric_encryption as symmetric
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
from flwr.supercore.primitives import asymmetric

from fedgenome.errors import RoleError, require
from fedgenome.query import PARTIES
from fedgenome.secure import crypten_runtime

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

DISTINCT = 5  # vectors; more sites send them again
_START_SECONDS = 120.0


@functools.lru_cache(maxsize=1)
def vectors(elements: int) -> tuple[Floats, ...]:
    """Return five sites' sums (n,) of L2 norm about 1, the same in every process."""
    rng = np.random.default_rng(1)
    return tuple(rng.normal(0, elements**-0.5, elements) for _ in range(DISTINCT))


# ── a plain sum ──────────────────────────────────────────────────────────────────────────────────


def plain(vectors: Sequence[Singles], sites: int) -> Singles:
    """Return NumPy's sum (n,) of the sites' vectors."""
    total = np.zeros_like(vectors[0])
    for index in range(sites):
        total += vectors[index % len(vectors)]
    return total


def plain_sent(vectors: Sequence[Singles], sites: int, buffers: Sequence[Singles]) -> Singles:
    """Return the same sum after copying each vector into a kernel's buffer and out of it."""
    total = np.zeros_like(vectors[0])
    for index in range(sites):
        np.copyto(buffers[0], vectors[index % len(vectors)])
        np.copyto(buffers[1], buffers[0])
        total += buffers[1]
    return total


# ── Flower's SecAgg+ ─────────────────────────────────────────────────────────────────────────────

CLIP, TARGET_RANGE, MODULUS = 8.0, 1 << 22, 1 << 32  # Flower's defaults
_SHARE = bytes(36)  # what is sealed in a Shamir share's place


class SecAgg:
    """Flower's SecAgg+ from the point where all keys are agreed; every site is every other's neighbour."""

    def __init__(self, sites: int) -> None:
        self._masking = [asymmetric.generate_key_pairs() for _ in range(sites)]
        self._sealing = [asymmetric.generate_key_pairs() for _ in range(sites)]
        self._seeds = [secrets.token_bytes(32) for _ in range(sites)]

    def client(self, index: int, vector: Singles) -> Callable[[], list[bytes]]:
        """Return client ``index``'s second stage: Flower's function, given its state and its message."""
        others = [other for other in range(len(self._masking)) if other != index]
        agreed = {other: symmetric.generate_shared_key(*self._pair(index, other)) for other in others}
        shares = {other: share_keys_plaintext_concat(other, index, _SHARE, _SHARE) for other in others}
        state = SecAggPlusState()
        state.nid, state.threshold, state.max_weight = index, len(others), 1.0
        state.clipping_range, state.target_range, state.mod_range = CLIP, TARGET_RANGE, MODULUS
        state.sk1, state.rd_seed = asymmetric.private_key_to_bytes(self._masking[index][0]), self._seeds[index]
        state.ss2_dict, state.rd_seed_share_dict, state.sk1_share_dict = agreed, {}, {}
        state.public_keys_dict = {other: (self._public(other), b"") for other in others}
        sealed = [symmetric.encrypt(agreed[other], shares[other]) for other in others]
        told = ConfigRecord({Key.CIPHERTEXT_LIST: sealed, Key.SOURCE_LIST: others})
        parameters = ndarrays_to_parameters([vector])
        return lambda: cast(list[bytes], _collect_masked_vectors(state, told, 1, parameters)[Key.MASKED_PARAMETERS])

    def server(self, sent: Callable[[int], list[bytes]]) -> Floats:
        """Return the mean (n,) of the clients' vectors from what each ``sent``; nobody dropped out."""
        sites = len(self._masking)
        total = [bytes_to_ndarray(part) for part in sent(0)]
        for index in range(1, sites):
            total = arithmetic.parameters_addition(total, [bytes_to_ndarray(part) for part in sent(index)])
        total = arithmetic.parameters_mod(total, MODULUS)
        for seed in self._seeds:
            mask = pseudo_rand_gen(seed, MODULUS, arithmetic.get_parameters_shape(total))
            total = arithmetic.parameters_subtraction(total, mask)
        weight, total = arithmetic.factor_extract(arithmetic.parameters_mod(total, MODULUS))
        mean: Floats = dequantize(total, CLIP, TARGET_RANGE)[0]
        mean += -(sites - 1) * CLIP
        mean *= TARGET_RANGE / weight
        return mean

    def _pair(self, index: int, other: int) -> tuple[Any, Any]:
        return self._sealing[index][0], self._sealing[other][1]

    def _public(self, index: int) -> bytes:
        return asymmetric.public_key_to_bytes(self._masking[index][1])


# ── CrypTen ──────────────────────────────────────────────────────────────────────────────────────


class CrypTen:
    """Three processes that add as CrypTen's tutorials do."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    @classmethod
    @contextlib.contextmanager
    def start(cls) -> Iterator[CrypTen]:
        """Start them, yield when they have met and added once, and end them."""
        root = Path(__file__).parents[2]
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            begun = []
            for rank in range(PARTIES):
                command = [sys.executable, "-W", "ignore", "-m", "experiments.benchmarks._rivals", str(rank)]
                pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
                begun.append(subprocess.Popen([*command, f"file://{folder}/rendezvous"], **pipes, cwd=root))
                stack.callback(_end, begun[-1])
            crypten = cls(begun)
            crypten.total(DISTINCT, 1000)
            yield crypten

    def total(self, sites: int, elements: int) -> tuple[float, float]:
        """Add once; return the slowest process's seconds, and the bytes that one sends to the others."""
        for process in self._processes:
            print(json.dumps({"sites": sites, "elements": elements}), file=process.stdin, flush=True)
        replies = [_reply(process) for process in self._processes]
        return max(reply["seconds"] for reply in replies), max(reply["bytes"] for reply in replies)


def _reply(process: subprocess.Popen[str]) -> dict[str, float]:
    """Return the next line of JSON; gloo chats on standard output too."""
    for line in cast(Any, process.stdout):
        if line.startswith("{"):
            return cast(dict[str, float], json.loads(line))
    raise RoleError("a CrypTen process ended; its standard error says why")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    with process:  # closes its pipes and waits
        pass


def _crypten_party(rank: int, rendezvous: str) -> None:
    """Answer each line of standard input, one sum, by a line of what it took."""
    crypten, torch = crypten_runtime.load(), importlib.import_module("torch")
    os.environ |= {"DISTRIBUTED_BACKEND": "gloo", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(PARTIES), "RENDEZVOUS": rendezvous}
    torch.set_num_threads(1)
    # CrypTen passes no timeout, so torch's module-wide default is the only handle.
    distributed: Any = importlib.import_module("torch.distributed.distributed_c10d")
    distributed.default_pg_timeout = datetime.timedelta(seconds=_START_SECONDS)
    crypten.init()
    crypten.cfg.communicator.verbose = True  # counts bytes: a few additions a message
    for line in sys.stdin:
        asked = json.loads(line)
        tensors = [torch.from_numpy(vector).float() for vector in vectors(asked["elements"])]
        print(json.dumps(_crypten_total(crypten, tensors, asked["sites"])), flush=True)


def _crypten_total(crypten: ModuleType, tensors: Sequence[Any], sites: int) -> dict[str, float]:
    communicator: Any = crypten.communicator.get()
    communicator.barrier()
    communicator.reset_communication_stats()
    begin = time.perf_counter()
    total: Any = crypten.cryptensor(tensors[0], src=0)
    for index in range(1, sites):
        total = total + crypten.cryptensor(tensors[index % DISTINCT], src=index % PARTIES)
    opened = total.get_plain_text()
    seconds = time.perf_counter() - begin
    for index in range(sites):
        opened -= tensors[index % DISTINCT]
    error = float(opened.abs().max())
    require(error <= sites * 2.0**-15, "CrypTen's sum, but for its precision of 16 bits", error=error)
    # Its statistics count what is sent and what is received.
    return {"seconds": seconds, "bytes": communicator.get_communication_stats()["bytes"] / 2}


# ── CKKS ─────────────────────────────────────────────────────────────────────────────────────────

SLOTS = 4096  # numbers in a ciphertext of degree 8192


class Ckks:
    """TenSEAL's CKKS with the parameters of NVFlare's ``HEBuilder``; every client holds the one secret key.

    Raises:
        ImportError: TenSEAL, no dependency of ours, is not installed.
    """

    def __init__(self) -> None:
        self._tenseal: Any = importlib.import_module("tenseal")
        scheme = self._tenseal.SCHEME_TYPE.CKKS
        self._context = self._tenseal.context(scheme, poly_modulus_degree=2 * SLOTS, coeff_mod_bit_sizes=[60, 40, 40])
        self._context.global_scale = 2**40

    def site(self, vector: Floats) -> list[bytes]:
        """Return ``vector`` (n,) encrypted and serialised."""
        blocks = [vector[start : start + SLOTS].tolist() for start in range(0, vector.size, SLOTS)]
        return [self._tenseal.ckks_vector(self._context, block).serialize() for block in blocks]

    def server(self, sent: Sequence[Sequence[bytes]]) -> list[bytes]:
        """Return the encrypted sum of what every site ``sent``."""
        totals = [self._tenseal.ckks_vector_from(self._context, part) for part in sent[0]]
        for parts in sent[1:]:
            read = [self._tenseal.ckks_vector_from(self._context, part) for part in parts]
            totals = [total + part for total, part in zip(totals, read, strict=True)]
        return [total.serialize() for total in totals]

    def open(self, total: Sequence[bytes]) -> Floats:
        """Return what a site decrypts, (n,)."""
        parts = [self._tenseal.ckks_vector_from(self._context, part).decrypt() for part in total]
        return np.concatenate([np.array(part) for part in parts])


if __name__ == "__main__":
    _crypten_party(int(sys.argv[1]), sys.argv[2])
