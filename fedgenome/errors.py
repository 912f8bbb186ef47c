"""Every error fedgenome raises on purpose.

FedgenomeError
├── SpecError            a parameter, file or record breaks its stated rule     (exit 2)
├── WireError            bytes are not a valid message
├── RoleError            a party, site or relay failed or went away             (exit 4)
├── Refused              a site or party will not answer; holds a code, never data
└── BudgetRefused        the plan costs more than a ledger has left             (exit 5)
"""

import difflib
from collections.abc import Iterable


class FedgenomeError(Exception):
    """Base of everything fedgenome raises."""

    exit_code = 1


class SpecError(FedgenomeError, ValueError):
    """A parameter, file or record breaks its stated rule."""

    exit_code = 2


class WireError(FedgenomeError, ValueError):
    """Bytes are not a valid message."""

    exit_code = 4


class RoleError(FedgenomeError):
    """A party, site or relay failed, stalled or went away."""

    exit_code = 4


class Refused(FedgenomeError):
    """A site or party declines a request.

    Args:
        code: A word from the protocol's list (``docs/protocol.md``); never data.
        rule: The rule that decided, in public terms only.
    """

    exit_code = 4

    def __init__(self, code: str, rule: str = "") -> None:
        super().__init__(f"{code}: {rule}" if rule else code)
        self.code = code
        self.rule = rule


class BudgetRefused(FedgenomeError):
    """A plan costs more than a ledger has left."""

    exit_code = 5


def require(ok: bool, rule: str, /, **seen: object) -> None:
    """Raise :class:`SpecError` naming ``rule`` and what was seen, unless ``ok``.

    >>> require(2 > 1, "two above one")
    >>> require(False, "0 < clip_norm", clip_norm=-1)
    Traceback (most recent call last):
    fedgenome.errors.SpecError: expected 0 < clip_norm, got clip_norm=-1
    """
    if not ok:
        what = ", got " + ", ".join(f"{name}={value!r}" for name, value in seen.items()) if seen else ""
        raise SpecError(f"expected {rule}{what}")


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the known name most like ``name``, case aside, as a question; ``otherwise`` if none is like it.

    >>> did_you_mean("Epsilom", ["delta", "epsilon"], "known are delta and epsilon")
    "did you mean 'epsilon'?"
    >>> did_you_mean("x", ["delta", "epsilon"], "known are delta and epsilon")
    'known are delta and epsilon'
    """
    folded = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"did you mean {folded[close[0]]!r}?" if close else otherwise
