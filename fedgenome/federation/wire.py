"""What travels between coordinator and site agents: a call is a kind, a JSON header and arrays.

The relay in between (a Flower ClientApp) understands none of it: it carries the two records below to
its agent and the agent's answer back.

======== ==================================== ==========================================
kind     header of the request                header of the reply (arrays)
======== ==================================== ==========================================
hello    {}                                   site
join     study, plan, run, keys, signatures   site
ask      query: its header (payload arrays)   site (part0, part1, part2 and stamp as bytes); where the study
                                              says secure = off: site (sum as ring words)
close    {}                                   site
any      —                                    refused: [code, rule]
======== ==================================== ==========================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from fedgenome.errors import WireError
from fedgenome.query import Array

KINDS = ("hello", "join", "ask", "close")
_RAW = "fedgenome.raw"  # Flower's name of how an array is written: its elements, C order, little-endian
BUNDLE = ("part0", "part1", "part2", "stamp")  # arrays of a sealed answer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One request or reply: a JSON header and named arrays."""

    header: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)

    @property
    def refusal(self) -> tuple[str, str] | None:
        """(code, rule) of a refused request, else None."""
        refused = self.header.get("refused")
        return (refused[0], refused[1]) if refused else None


def to_records(call: Call) -> RecordDict:
    """Return the Flower records of ``call``. Arrays travel as raw bytes: no file format, no second copy."""
    arrays = {
        name: FlowerArray(array.dtype.str, array.shape, _RAW, array.tobytes()) for name, array in call.arrays.items()
    }
    header = json.dumps(call.header, separators=(",", ":"), allow_nan=False)
    return RecordDict({"header": ConfigRecord({"json": header}), "arrays": ArrayRecord(arrays)})


def from_records(records: RecordDict) -> Call:
    """Return the call that ``records`` hold; its arrays are read-only views.

    Raises:
        WireError: a record is missing or malformed.
    """
    try:
        text = records.config_records["header"]["json"]
        arrays = {str(name): _array(array) for name, array in records.array_records["arrays"].items()}
        header = json.loads(text) if isinstance(text, str) else None
    except (KeyError, ValueError, TypeError, SyntaxError, RecursionError) as fault:  # NumPy parses types like Python
        raise WireError(f"records of a call: {type(fault).__name__}") from None
    if not isinstance(header, dict):
        raise WireError("records of a call: the header is not a JSON object")
    if not _refuses_well(header.get("refused")):
        raise WireError("records of a call: a refusal is a code and a rule")
    return Call(header=header, arrays=arrays)


def _refuses_well(refused: object) -> bool:
    return refused is None or (isinstance(refused, list) and [type(text) for text in refused] == [str, str])


def _array(array: FlowerArray) -> Array:
    dtype = np.dtype(array.dtype)
    if array.stype != _RAW or dtype.kind not in "biuf":
        raise ValueError(f"an array of numbers as raw bytes, got {array.stype} {array.dtype}")
    return np.frombuffer(array.data, dtype).reshape(array.shape)


def refusal(code: str, rule: str) -> Call:
    """Return the reply that refuses a request; ``rule`` is public."""
    return Call(header={"refused": [code, rule]})
