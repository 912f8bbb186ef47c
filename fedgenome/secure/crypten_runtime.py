"""CrypTen inside a party: the only module that imports it.

Linear sums are added in plain integers and only the final share is wrapped (CrypTen's ``+`` is ten
times slower), never encoded (its encoder loses fractions), never ``reveal``-ed (that needs all three
parties at once, and ``reveal(dst)`` leaks): each party sends the words of its ``.share``. None of
CrypTen's randomness is used, and nothing of ours calls its ``send_obj``, which pickles.
(DESIGN §5; references in docs/decisions.md.)
"""

from __future__ import annotations

import datetime
import functools
import importlib
import os
import sys
import warnings
from types import ModuleType
from typing import Any, Literal

import numpy as np

from fedgenome.query import Array

_EMBED = 32  # bits by which 32-bit words are shifted up, see wrap()


def start(rank: int, world_size: int, rendezvous: str, timeout_seconds: float) -> None:
    """Join the group of ``world_size`` parties: gloo over loopback, one torch thread.

    Args:
        rendezvous: ``file://`` path that exists for no other group, or ``tcp://127.0.0.1:port``.
        timeout_seconds: Bound on every step of joining and on every collective; torch's own is 30 minutes.

    Raises:
        RuntimeError: the others did not come in time. The process must then end: gloo cannot retry.
    """
    os.environ |= {
        "DISTRIBUTED_BACKEND": "gloo",
        "GLOO_SOCKET_IFNAME": "lo",  # gloo has no peer authentication: it must not leave the machine
        "RANK": str(rank),
        "RENDEZVOUS": rendezvous,
        "WORLD_SIZE": str(world_size),
    }
    crypten = _load()
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    distributed: Any = importlib.import_module("torch.distributed.distributed_c10d")
    # CrypTen passes no timeout, so torch's module-wide default is the only handle.
    distributed.default_pg_timeout = datetime.timedelta(seconds=timeout_seconds)
    crypten.init()


def stop() -> None:
    """Leave the group, if this process is in one."""
    crypten = _load()
    if crypten.is_initialized():
        crypten.uninit()


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
    held = share.astype(np.uint64, copy=False)
    if share.dtype == np.uint32:
        held <<= np.uint64(_EMBED)
    primitives: Any = _load().mpc.primitives
    return primitives.ArithmeticSharedTensor.from_shares(torch.from_numpy(held.view(np.int64)), precision=0)


def unwrap(tensor: Any, width: Literal[32, 64]) -> Array:
    """Return the share that :func:`wrap` was given: uint64 or uint32 (n,), the same words."""
    held: Array = tensor.share.numpy().view(np.uint64)
    return held if width == 64 else (held >> np.uint64(_EMBED)).astype(np.uint32)


@functools.cache
def _load() -> ModuleType:
    """Import CrypTen 0.4.1 under a torch that moved the module it looks for."""
    with warnings.catch_warnings():
        # crypten/nn/module.py holds '\_' in a docstring, which Python reports when it first compiles it.
        for category in (DeprecationWarning, SyntaxWarning):
            warnings.filterwarnings("ignore", r"invalid escape sequence '\\_'|\"\\_\" is an invalid escape", category)
        moved = importlib.import_module("torch.onnx._internal.torchscript_exporter.registration")
        sys.modules["torch.onnx._internal.registration"] = moved
        return importlib.import_module("crypten")
