"""Roster files: who takes part and under which public key, as people exchange and compare it.

A TOML file with one table for each role::

    [[role]]
    role = "site"        # site, party or dealer
    name = "berlin"      # parties are party-0, party-1 and party-2, the dealer is dealer
    key = "…"            # Ed25519 public key, 64 hex digits: what `fedgenome keys show` prints

Nothing in it is secret, but everything depends on it: compare its digest over another channel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fedgenome import files, toml
from fedgenome.errors import SpecError, require
from fedgenome.query import PARTIES, Roster, digest_of

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_FIELDS = ["key", "name", "role"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterFile:
    """What a roster file says.

    Attributes:
        sites: (name, public key) of every site, in the file's order.
        parties: The three parties' public keys, in order.
        dealer: The dealer's public key; empty without one.
    """

    sites: tuple[tuple[str, str], ...]
    parties: tuple[str, ...]
    dealer: str = ""

    def __post_init__(self) -> None:
        names = [name for name, _ in self.sites]
        require(bool(names), "at least one site")
        require(len(set(names)) == len(names), "every site once", sites=names)
        require(all(_NAME.fullmatch(name) for name in names), "site names of a-z, 0-9, _ and -", sites=names)
        capped = tuple((name, 1, key) for name, key in self.sites)  # a roster file says no caps
        Roster(sites=capped, parties=self.parties, dealer=self.dealer).check()

    @property
    def roles(self) -> tuple[tuple[str, str, str], ...]:
        """(role, name, key) of everybody."""
        sites = [("site", name, key) for name, key in self.sites]
        parties = [("party", f"party-{index}", key) for index, key in enumerate(self.parties)]
        return (*sites, *parties, *([("dealer", "dealer", self.dealer)] if self.dealer else []))

    @property
    def digest(self) -> str:
        """Hex digest to compare over another channel."""
        return digest_of("roster file", self.roles)

    def save(self, path: Path) -> None:
        """Write it to a new file.

        Raises:
            SpecError: something is there already.
        """
        tables = [f'[[role]]\nrole = "{role}"\nname = "{name}"\nkey = "{key}"\n' for role, name, key in self.roles]
        try:
            files.create(path, "\n".join(tables).encode(), 0o644)
        except OSError as fault:
            raise SpecError(f"{path}: expected a place for a new roster, {fault.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a roster file.

        Raises:
            SpecError: one line naming the file and what is wrong with it.
        """
        told = toml.read(path, "a roster file")
        tables = told.get("role")
        if list(told) != ["role"] or not isinstance(tables, list) or not all(map(_is_role, tables)):
            raise SpecError(f"{path}: expected [[role]] tables of role (site, party or dealer), name and key")
        try:
            return cls._of(tables)
        except SpecError as fault:
            raise SpecError(f"{path}: {fault}") from None

    @classmethod
    def _of(cls, tables: Sequence[Mapping[str, str]]) -> Self:
        named = {role: [(t["name"], t["key"]) for t in tables if t["role"] == role] for role in ("party", "dealer")}
        ranks = [f"party-{index}" for index in range(PARTIES)]
        require(sorted(name for name, _ in named["party"]) == ranks, f"parties named {', '.join(ranks)}")
        require([name for name, _ in named["dealer"]] in ([], ["dealer"]), "at most one dealer, named dealer")
        return cls(
            sites=tuple((t["name"], t["key"]) for t in tables if t["role"] == "site"),
            parties=tuple(key for _, key in sorted(named["party"])),
            dealer=next((key for _, key in named["dealer"]), ""),
        )


def _is_role(table: Any) -> bool:
    plain = isinstance(table, dict) and sorted(table) == _FIELDS and all(type(v) is str for v in table.values())
    return bool(plain and table["role"] in ("site", "party", "dealer"))
