"""The node list: which relay belongs to which role, and by which key the SuperLink knows it.

{"site-1": {"role": "site", "cap": 400, "key": "ecdsa-sha2-nistp384 AAAA…"}, …}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from fedgenome import files
from fedgenome.deployment import disk
from fedgenome.errors import SpecError
from fedgenome.query import digest_of
from fedgenome.strict import Strict
from fedgenome.study import Name

Role = Literal["site", "party", "dealer"]
_MOST_BYTES = 16 << 20  # 10,000 nodes take 3 MiB


class Node(Strict):
    """A role's relay.

    Attributes:
        cap: The most donors that a site will ever hold; 0 for others.
    """

    role: Role
    cap: int = Field(ge=0)
    key: str = Field(pattern=r"^ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+$", max_length=400)


_Nodes = TypeAdapter(dict[Name, Node])


def digest(nodes: Mapping[str, Node]) -> str:
    """Return the digest of a node list, to compare over another channel."""
    return digest_of("node list", [[name, node.role, node.cap, node.key] for name, node in sorted(nodes.items())])


def dump(nodes: Mapping[str, Node]) -> bytes:
    """Return a node list as its file holds it."""
    return (json.dumps({name: node.model_dump() for name, node in nodes.items()}, indent=1) + "\n").encode()


def load(path: Path) -> dict[str, Node]:
    """Read a node list.

    Raises:
        SpecError: one line naming the file and what is wrong with it.
    """
    try:
        return _Nodes.validate_python(disk.read_json(path, "a node list", _MOST_BYTES))
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{path}: {where}: {first['msg']}; make it with: fedgenome keys approve") from None


def save_keys(nodes: Mapping[str, Node], folder: Path) -> None:
    """Write ``folder/<name>.pub`` of every relay: what ``flwr supernode register`` takes.

    Raises:
        SpecError: they cannot be written.
    """
    with disk.named(folder, "a folder for node keys"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, node in nodes.items():
            files.replace(folder / f"{name}.pub", f"{node.key}\n".encode())
