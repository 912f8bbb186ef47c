"""The accounts of a site: what it keeps so that no donor is ever charged to two of them (DESIGN §6).

An account is a random id for a site's population; its ledger adds up what that population's donors have spent. A
second account for some of the same donors would be a second budget for them. So a site notes, for every account, who
has been in a shard that uses it: as hashes under a key of its own, which never leaves its folder. Three files there:

=================  ==================================================================================
``account``        id of the account that is used unless told otherwise; never a digest of data
``accounts.key``   32 random bytes, mode 600
``accounts.json``  account → hashes of donor ids, HMAC-SHA256 cut to 128 bits, sorted; mode 600, as its
                   length tells how many donors there are
=================  ==================================================================================

Removing a ledger and its account id does not give a new budget: the donors are still noted. Removing all three
files does, and nothing here sees that; nor does anything see the same person under two ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedgenome import files
from fedgenome.errors import SpecError, require

ACCOUNT, KEY, REGISTRY = "account", "accounts.key", "accounts.json"

_KEY_BYTES, _HASH_BYTES = 32, 16
_DOMAIN = b"fedgenome donor of an account 1\0"
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Who was in shards of one account.

    Attributes:
        donors: Hex hashes of donor ids; empty where rows were units at any time.
        rows: A shard had rows for units: nobody can tell whose they are.
    """

    donors: frozenset[str] = frozenset()
    rows: bool = False


def kept(folder: Path) -> str:
    """Return the id of the account that a site's folder uses, made at the first call.

    Raises:
        SpecError: the file holds no such id.
    """
    path = folder / ACCOUNT
    with contextlib.suppress(FileExistsError):
        files.create(path, secrets.token_hex(16).encode(), 0o600)
    account = path.read_text("ascii", "replace")
    require(
        re.fullmatch("[0-9a-f]{32}", account) is not None, f"{path}: 32 hex digits of an account", length=len(account)
    )
    return account


def admit(folder: Path, account: str, donors: Sequence[str], unit: Literal["donor", "row"]) -> None:
    """Note that ``donors`` are charged to ``account``, durably, unless one of them is another account's.

    Call it before the ledger of ``account`` is opened for a shard. Where rows are units there is one account: a row's
    name says nothing of whose row it is.

    Args:
        folder: The site's own.
        account: Id of the account that the shard uses.
        donors: Ids of the shard's donors, or names of its rows.
        unit: Which of the two they are.

    Raises:
        SpecError: a donor is another account's, or could be; or the site's notes cannot be read. Its text counts
            donors: it is for the site's own operator, and a site agent's refusal does not quote it.
    """
    with _locked(folder) as key:
        noted = _read(folder / REGISTRY)
        others = {name: whose for name, whose in noted.items() if name != account}
        if others and (unit == "row" or any(whose.rows for whose in others.values())):
            raise SpecError(
                f"{folder}: expected one account where rows are units, {next(iter(others))}, got {account}: without "
                "donor ids nobody can tell whether two accounts share a donor; use that account for ever"
            )
        new = frozenset(_hash(key, donor) for donor in donors) if unit == "donor" else frozenset[str]()
        for name, whose in others.items():
            if shared := len(new & whose.donors):
                raise SpecError(
                    f"{folder}: expected no donor of another account, {shared} of {len(new)} donors of account "
                    f"{account} belong to {name}: two ledgers do not add up what a donor spends; use that account"
                )
        _write(folder / REGISTRY, noted, account, new, unit == "row")


def _write(path: Path, noted: dict[str, Population], account: str, new: frozenset[str], rows: bool) -> None:
    before = noted.get(account, Population())
    if account in noted and new <= before.donors and rows <= before.rows:
        return
    noted = noted | {account: Population(donors=before.donors | new, rows=before.rows or rows)}
    accounts = {name: {"donors": sorted(whose.donors), "rows": whose.rows} for name, whose in noted.items()}
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    files.create(beside, json.dumps({"version": _VERSION, "accounts": accounts}).encode(), 0o600)
    beside.replace(path)
    files.sync(path.parent)


def _read(path: Path) -> dict[str, Population]:
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_bytes())
        require(told["version"] == _VERSION, f"version {_VERSION}", version=told["version"])
        return {
            str(name): Population(donors=frozenset(map(str, whose["donors"])), rows=bool(whose["rows"]))
            for name, whose in told["accounts"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SpecError(
            f"{path}: expected the accounts of a site and their donors' hashes, version {_VERSION}"
        ) from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bytes]:
    """Yield the site's key while no other process reads or writes its notes."""
    path = folder / KEY
    if not path.exists() and (folder / REGISTRY).exists():
        raise SpecError(f"{path}: expected the key under which {REGISTRY} beside it was made; restore both together")
    with contextlib.suppress(FileExistsError):
        files.create(path, secrets.token_bytes(_KEY_BYTES), 0o600)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode & 0o777
        require(not mode & 0o077, f"{path}: a key file that only its owner can use (mode 600)", mode=oct(mode))
        fcntl.flock(fd, fcntl.LOCK_EX)
        key = os.read(fd, _KEY_BYTES + 1)
        require(len(key) == _KEY_BYTES, f"{path}: a key of {_KEY_BYTES} bytes", length=len(key))
        yield key
    finally:
        os.close(fd)


def _hash(key: bytes, donor: str) -> str:
    return hmac.new(key, _DOMAIN + donor.encode(), hashlib.sha256).digest()[:_HASH_BYTES].hex()
