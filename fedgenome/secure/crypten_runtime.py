"""CrypTen inside a party: the only module that imports it.

Linear sums are added in plain integers and only the final share is wrapped (CrypTen's ``+`` is ten
times slower), never encoded (its encoder loses fractions), never ``reveal``-ed (that needs all three
parties at once, and ``reveal(dst)`` leaks): each party sends the words of its ``.share``. None of
CrypTen's randomness is used, and nothing of ours calls its ``send_obj``, which pickles.
(DESIGN §5; references in docs/decisions.md.)

Comparisons (``select``) do need a conversation and randomness: :func:`bind` gives CrypTen our
communicator, our generators and our dealer in place of its own, for the rest of the process's life.
What is left of CrypTen then is its arithmetic: conversion to binary shares, the adder, Beaver's products.
"""

from __future__ import annotations

import functools
import importlib
import secrets
import sys
import warnings
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedgenome.errors import require
from fedgenome.query import PARTIES, Array
from fedgenome.secure import generators
from fedgenome.secure.dealer import Function, Tuples
from fedgenome.secure.links import Kind, Links
from fedgenome.streams import Stream

_EMBED = 32  # bits by which 32-bit words are shifted up, see wrap()


def wrap(share: Array) -> Any:
    """Return one party's ``share`` as a CrypTen ``ArithmeticSharedTensor``; needs no conversation.

    Args:
        share: uint64 (n,), a share in Z_2^64, kept as the same 64 bits in int64; or uint32 (n,), a
            share in Z_2^32, kept as word·2^32. That embedding is exact: shares of x in Z_2^32 become
            shares of x·2^32 in Z_2^64 (the carries out of 32 bits drop off the top), so sign and
            comparison are right, which those of zero-extended words are not.

    >>> (unwrap(wrap(np.array([5, 2**32 - 1], np.uint32)), 32) == [5, 2**32 - 1]).all()
    np.True_
    """
    torch = importlib.import_module("torch")
    small = share.dtype == np.uint32
    held = np.left_shift(share, np.uint64(_EMBED), dtype=np.uint64) if small else share
    primitives: Any = load().mpc.primitives
    return primitives.ArithmeticSharedTensor.from_shares(torch.from_numpy(held.view(np.int64)), precision=0)


def unwrap(tensor: Any, width: Literal[32, 64]) -> Array:
    """Return the share that :func:`wrap` was given: uint64 or uint32 (n,), the same words."""
    held: Array = tensor.share.numpy().view(np.uint64)
    return held if width == 64 else (held >> np.uint64(_EMBED)).astype(np.uint32)


@functools.cache
def load() -> ModuleType:
    """Import CrypTen 0.4.1 under a torch that moved the module it looks for; takes seconds, the first time."""
    with warnings.catch_warnings():
        # crypten/nn/module.py holds '\_' in a docstring, which Python reports when it first compiles it.
        for category in (DeprecationWarning, SyntaxWarning):
            warnings.filterwarnings("ignore", r"invalid escape sequence '\\_'|\"\\_\" is an invalid escape", category)
        moved = importlib.import_module("torch.onnx._internal.torchscript_exporter.registration")
        sys.modules["torch.onnx._internal.registration"] = moved
        return importlib.import_module("crypten")


# ── comparisons ──────────────────────────────────────────────────────────────────────────────────

Words = npt.NDArray[np.uint64]


def bind(links: Links) -> Machine:
    """Let CrypTen compute over ``links``; once in a process, and CrypTen must not be initialised.

    From here on CrypTen's pickling, its providers (TFP lets party 0 unmask everything) and every draw
    from a torch generator raise SpecError.
    """
    crypten, torch = load(), importlib.import_module("torch")
    torch.set_num_threads(1)
    before, after = (links.rank - 1) % PARTIES, (links.rank + 1) % PARTIES
    streams = {
        "prev": Stream(links.key(before, "zero")),
        "next": Stream(links.key(after, "zero")),
        "local": Stream(secrets.token_bytes(32)),
    }
    generators.replace(crypten, torch, streams)
    communicator: Any = crypten.communicator
    own = Communicator(links, torch)
    communicator.get, communicator.is_initialized = lambda: own, lambda: True
    communicator.uninit = links.close
    crypten.cfg.mpc.provider = "TTP"
    provider = _Provider(crypten.mpc.primitives, torch, Tuples(links))
    mpc: Any = crypten.mpc
    mpc.get_default_provider = lambda: _required(crypten.cfg.mpc.provider, provider)
    return Machine(links, own, crypten, torch)


class Machine:
    """One party's end of computing on shares in Z_2^64. All three must make the same calls.

    Shares are uint64 (n,); they add up over the parties, mod 2^64, to integers in two's complement.

    Attributes:
        rank: The party.
    """

    def __init__(self, links: Links, talk: Communicator, crypten: ModuleType, torch: ModuleType) -> None:
        self.rank, self.links, self._talk = links.rank, links, talk
        self._primitives: Any = crypten.mpc.primitives
        self._torch: Any = torch

    def below(self, left: Words, right: Words) -> Words:
        """Return shares of 1 where left < right, else 0; right where they differ by less than 2^63.

        The sign of the difference: its three shares, each shared bit by bit, are added. CrypTen's own
        conversion adds them one after the other, and takes a RuntimeError on the way for a lack of
        memory. A row of full adders first makes two numbers of three: 8 waits instead of 14, and
        half the bytes.
        """
        difference = self._torch.from_numpy((left - right).view(np.int64))
        a, b, c = (self._primitives.BinarySharedTensor(difference, src=rank) for rank in range(PARTIES))
        carries = ((a ^ b) & (a ^ c)) ^ a  # the majority of the three
        total = (a ^ b ^ c) + (carries << 1)
        return self._words(self._primitives.beaver.B2A_single_bit((total >> 63) & 1))

    def product(self, left: Words, right: Words) -> Words:
        """Return shares of left·right, mod 2^64."""
        return self._words(self._tensor(left) * self._tensor(right))

    def reveal(self, shares: Words) -> npt.NDArray[np.int64]:
        """Return what is shared, int64 (n,), to all three."""
        opened: npt.NDArray[np.int64] = self._tensor(shares).reveal().numpy()
        return opened

    def agree(self, digest: bytes) -> None:
        """Raise Refused unless both other parties hold the same digest."""
        self.links.agree(digest)

    def tell(self, numbers: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Return what every party tells, int64 (n,), by rank."""
        told = self._talk.all_gather(self._torch.from_numpy(numbers))
        return [tensor.numpy() for tensor in told]

    def _tensor(self, shares: Words) -> Any:
        tensor = self._torch.from_numpy(shares.view(np.int64))
        return self._primitives.ArithmeticSharedTensor.from_shares(tensor, precision=0)

    def _words(self, tensor: Any) -> Words:
        words: Words = tensor.share.numpy().view(np.uint64)
        return words


class Communicator:
    """What CrypTen calls in order to talk: int64 tensors on the CPU, over our links, and nothing else.

    Each party sends its tensor to both others: one wait, and nobody holds a part of what is for another.
    """

    send_obj = recv_obj = broadcast_obj = generators.refusing("pickle")

    def __init__(self, links: Links, torch: ModuleType) -> None:
        self._links, self._torch = links, torch
        self._xor = torch.distributed.ReduceOp.BXOR
        self._plus = torch.distributed.ReduceOp.SUM

    def get_rank(self) -> int:
        """Return this party's rank."""
        return self._links.rank

    def get_world_size(self) -> int:
        """Return the number of parties."""
        return PARTIES

    def all_reduce(self, input: Any, op: Any = None, batched: bool = False) -> Any:
        """Return the parties' sum (or XOR) of a tensor, or of each of a list."""
        add = self._operation(op)
        tensors = input if batched else [input]
        theirs = self._move(tensors, self._links.peers, self._links.peers)
        sums = [functools.reduce(add, parts) for parts in zip(tensors, *theirs.values(), strict=True)]
        return sums if batched else sums[0]

    def all_gather(self, tensor: Any) -> list[Any]:
        """Return every party's tensor, by rank."""
        theirs = self._move([tensor], self._links.peers, self._links.peers)
        return [tensor if rank == self._links.rank else theirs[rank][0] for rank in range(PARTIES)]

    def gather(self, tensor: Any, dst: int) -> list[Any]:
        """Return every party's tensor at ``dst``, ``[None]`` elsewhere."""
        if self._links.rank != dst:
            self._move([tensor], (dst,), ())
            return [None]
        theirs = self._move([tensor], (), self._links.peers)
        return [tensor if rank == dst else theirs[rank][0] for rank in range(PARTIES)]

    def broadcast(self, input: Any, src: int) -> Any:
        """Return ``src``'s tensor at every party."""
        if self._links.rank == src:
            self._move([input], self._links.peers, ())
            return input
        return self._move([input], (), (src,))[src][0]

    def barrier(self) -> None:
        """Wait for all parties."""
        self._move([], self._links.peers, self._links.peers)

    def _operation(self, op: Any) -> Any:
        require(op in (None, self._plus, self._xor), "a sum or XOR", op=str(op))
        return self._torch.bitwise_xor if op == self._xor else self._torch.add

    def _move(self, tensors: Sequence[Any], to: Iterable[int], of: Iterable[int]) -> dict[int, list[Any]]:
        """Send tensors to some parties while receiving as many of the same shapes from others."""
        require(all(tensor.dtype == self._torch.int64 for tensor in tensors), "int64 tensors")
        held = [tensor.contiguous() for tensor in tensors]
        rooms = {rank: [self._torch.empty_like(tensor) for tensor in held] for rank in of}
        for rank, room in rooms.items():
            self._links.expect(rank, Kind.WORDS, *map(_bytes, room))
        for rank in to:
            self._links.send(rank, Kind.WORDS, *map(_bytes, held))
        self._links.flush()
        return rooms


class _Provider:
    """Tuples of our dealer as CrypTen's shared tensors; of the kinds that comparisons need."""

    def __init__(self, primitives: Any, torch: ModuleType, tuples: Tuples) -> None:
        self._arithmetic = primitives.ArithmeticSharedTensor
        self._binary = primitives.BinarySharedTensor
        self._torch, self._tuples = torch, tuples

    def generate_additive_triple(self, size0: Any, size1: Any, op: str, device: object = None) -> tuple[Any, ...]:
        require(op == "mul" and size0 == size1, "products element by element", op=op, left=size0, right=size1)
        return tuple(self._arithmetic.from_shares(share, precision=0) for share in self._draw(Function.PRODUCT, size0))

    def generate_binary_triple(self, size0: Any, size1: Any, device: object = None) -> tuple[Any, ...]:
        require(size0 == size1, "AND element by element", left=size0, right=size1)
        return tuple(self._binary.from_shares(share, precision=0) for share in self._draw(Function.AND, size0))

    def B2A_rng(self, size: Any, device: object = None) -> tuple[Any, Any]:
        bit, word = self._draw(Function.BIT, size)
        return self._arithmetic.from_shares(word, precision=0), self._binary.from_shares(bit, precision=0)

    def _draw(self, function: Function, size: Any) -> list[Any]:
        drawn = self._tuples.draw(function, size.numel())
        return [self._torch.from_numpy(share.view(np.int64)).reshape(size) for share in drawn]


def _required(name: str, provider: _Provider) -> _Provider:
    require(name == "TTP", "tuples of the dealer, a party of its own", provider=name)
    return provider


def _bytes(tensor: Any) -> memoryview:
    flat: npt.NDArray[np.int64] = tensor.numpy().reshape(-1)
    return flat.data.cast("B")
