"""CPU threads, set explicitly: one per process unless asked, because roles share cores.

Threads of one process wait for each other at every step of a matrix product; as soon as another
process has one of their cores, that is most of the time.
"""

from __future__ import annotations

import os
import sys

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def limit(threads: int = 1) -> None:
    """Let this process and its children compute with ``threads`` threads. Call it before NumPy is imported.

    What the environment already says is kept, so that ``OMP_NUM_THREADS=8 fedgenome run …`` works.
    """
    for name in _POOLS:
        os.environ.setdefault(name, str(threads))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
