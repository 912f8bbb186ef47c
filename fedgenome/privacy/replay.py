"""Reading a ledger through, by every rule: the chain, the books, and where asked prices and signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedgenome.errors import FedgenomeError, SpecError
from fedgenome.privacy.books import Books
from fedgenome.privacy.chain import GENESIS, Link, Record, chained, follow
from fedgenome.study import Plan

SIGNED = ("reserve", "close", "sanitize")  # what a site commits itself to, and the charges that it says there were
STATEMENT = "ledger line"  # the kind of statement that a signature is over: the chained hash of the unsigned record

Price = Callable[[Plan, float, float], float]  # plan, ε and δ of the Study → ε of the plan
CheckSignature = Callable[[str, str, Sequence[object], bytes], None]  # key, kind, values, signature; raises


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was found in a ledger that keeps every rule.

    Attributes:
        heads: Hash of every line of the chain.
        noted: Earlier torn lines, each followed by a record that tells of it.
        torn: Bytes of an unfinished last line that no record tells of yet; 0: none.
        signers: Public keys that signed a line, in order.
        unsigned: Reservations, closes and sanitized rows that nobody signed.
        books: What all of it adds up to.
    """

    heads: list[str] = field(default_factory=list)
    noted: int = 0
    torn: int = 0
    signers: list[str] = field(default_factory=list)
    unsigned: int = 0
    books: Books = field(default_factory=Books)

    @property
    def records(self) -> int:
        """Lines of the chain."""
        return len(self.heads)

    @property
    def head(self) -> str:
        """Hash of the last line."""
        return self.heads[-1] if self.heads else GENESIS


def verify(path: Path, *, price: Price | None = None, signature: CheckSignature | None = None) -> Verdict:
    """Check a ledger line by line; a torn last line is reported, not repaired.

    Args:
        price: Prices each private plan anew (``accounting.priced``); None: the ledger's word is taken.
        signature: Checks each signature (``identity.verify``); None: they are not looked at.

    Raises:
        SpecError: no file; or, with its line, the first fault: a line changed, moved or lost, a record that
            may not come next, a plan that costs more than it says, a signature that does not hold.
    """
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise SpecError(f"{path}: expected a ledger, {fault.strerror}") from None
    return replay(data, path, price, signature)


def replay(data: bytes, path: Path, price: Price | None = None, signature: CheckSignature | None = None) -> Verdict:
    """Return what the records of ``data``, read from ``path``, add up to (:func:`verify`)."""
    found, end = Verdict(), 0
    for link in follow(data, path):
        try:
            found.books.apply(link.record)
            if price is not None:
                _check_price(found.books, link.record, price)
            if signature is not None and "signature" in link.record:
                _check_signature(link, signature)
        except FedgenomeError as fault:
            raise SpecError(f"{path}: line {link.number}: {fault}") from None
        _note(found, link)
        end = link.end
    found.torn = len(data) - end
    return found


def _note(found: Verdict, link: Link) -> None:
    found.heads.append(link.head)
    found.noted += link.record["event"] == "torn"
    if "signature" not in link.record:
        found.unsigned += link.record["event"] in SIGNED
    elif (signer := str(link.record.get("signer"))) not in found.signers:
        found.signers.append(signer)


def _check_price(books: Books, record: Record, price: Price) -> None:
    if record["event"] != "reserve" or record["kind"] != "private":
        return
    run = books.runs[record["run"]]
    found = price(run.plan, *run.price)
    if found > run.price[0]:
        raise SpecError(f"expected a plan of at most epsilon {run.price[0]:.6g}, this one costs {found:.6g}")


def _check_signature(link: Link, signature: CheckSignature) -> None:
    record = {name: value for name, value in link.record.items() if name != "signature"}
    try:
        blob = bytes.fromhex(link.record["signature"])
        key = str(record["signer"])
    except (KeyError, TypeError, ValueError):
        raise SpecError("expected signer and signature as hex digits") from None
    signature(key, STATEMENT, [chained(link.before, record)], blob)
