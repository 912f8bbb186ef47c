"""``fedgenome site withdraw``: a donor leaves, and the hospital hears what cannot be taken back.

From the next question on no answer holds the donor's rows, in a run that is under way too. What was answered
stays answered: so the command tells which runs the donor may be in, and at what ε.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedgenome.cohort import expression
from fedgenome.deployment.hospital import journal, withdrawn
from fedgenome.deployment.hospital.journal import Journal
from fedgenome.deployment.hospital.site import LEDGER, SiteConfig
from fedgenome.errors import SpecError
from fedgenome.privacy.books import Run
from fedgenome.privacy.replay import verify

_EVENT = "withdraw"
LIMITS = (
    "a released sum is not unlearned: what was trained with these rows stays as it is",
    "ε is not refunded: the runs above stay spent",
    "copies already given are not recalled: ask whoever holds a release; an answer once made is only ever repeated",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A run that a donor may have entered: an answer may have left before the withdrawal.

    Attributes:
        run: Its id.
        study: Hex digest of the Study.
        kind: What it claims: private, simulation or none.
        unit: What its ε is about.
        epsilon: What it spent, ``delta`` with it; None where nothing is claimed.
        open: More questions may come; none is answered with the donor's rows.
    """

    run: str
    study: str
    kind: str
    unit: str
    epsilon: float | None
    delta: float | None
    open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What became of a withdrawal.

    Attributes:
        site: The site's name.
        unit: donor, or row where the cohort has no donor column.
        before: The donor had withdrawn already; ``entered`` is what was told then, as it stands now.
        entered: The runs that the donor may have entered.
    """

    site: str
    unit: str
    before: bool
    entered: tuple[Entered, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"withdrawn": True, **asdict(self), "limits": LIMITS}


def unit(config: SiteConfig) -> str:
    """Return what a withdrawal is of: donor or row."""
    return "donor" if config.cohort.donor else "row"


def withdraw(config: SiteConfig, donor: str) -> Withdrawal:
    """Leave a donor's rows out from the next question on, whether or not the agent runs.

    Args:
        donor: The id as the donor column has it; without one, the name of a row.

    Raises:
        SpecError: the cohort has no such donor, or a file of the state folder is damaged.
    """
    state, marks = config.state, withdrawn.load(config.state)
    before = bool(marks.found) and marks.of(donor) in marks.found
    if not before:
        _check_known(config, donor)
        withdrawn.add(state, donor)
    # After that: a question that still saw the donor was charged before, so its run is in the ledger by now.
    spent = {name: run for name, run in _runs(state / LEDGER).items() if run.used}
    mark = withdrawn.load(state).of(donor)
    told = (line for line in journal.every(state / journal.FILE) if line.get("withdrawn") == mark)
    noted = next((line["runs"] for line in told if "runs" in line), None)
    if noted is None:
        noted = list(spent)
        with Journal(state / journal.FILE) as book:
            book.note(_EVENT, withdrawn=mark, unit=unit(config), runs=noted)
    entered = tuple(_entered(name, run) for name, run in spent.items() if name in noted)
    return Withdrawal(site=config.name, unit=unit(config), before=before, entered=entered)


def _check_known(config: SiteConfig, donor: str) -> None:
    data = config.cohort
    if donor not in expression.owners(data.source, data.donor, data.layer, data.annotation):
        column = f"obs[{data.donor!r}]" if data.donor else "the names of its rows (there is no donor column)"
        raise SpecError(f"{data.source}: expected an id of {column}, found none as given; nobody was withdrawn")


def _runs(path: Path) -> dict[str, Run]:
    return verify(path).books.runs if path.exists() else {}


def _entered(name: str, run: Run) -> Entered:
    return Entered(
        run=name,
        study=run.study,
        kind=run.kind,
        unit=run.unit,
        epsilon=run.epsilon,
        delta=run.delta,
        open=not run.closed,
    )


def text(found: Withdrawal) -> str:
    """Return a withdrawal as lines for a terminal."""
    who = "donor" if found.unit == "donor" else "row (row, not a person: other rows of the same person stay)"
    head = f"{found.site}: the {who} is left out of every answer from the next question on"
    lines = [head + (", and was so already" if found.before else "")]
    lines += [_line(one) for one in found.entered]
    lines += [] if found.entered else ["no answer has left before: no run holds these rows"]
    return "\n".join(lines + [f"- {limit}" for limit in LIMITS] * bool(found.entered))


def _line(one: Entered) -> str:
    claim = "no ε is claimed" if one.epsilon is None else f"ε = {one.epsilon:.6g}, δ = {one.delta:.3g} spent"
    about = "" if one.epsilon is None else f" a {one.unit}"
    state = "open, goes on without these rows" if one.open else "closed"
    return f"may be in run {one.run} of study {one.study}: {one.kind}, {claim}{about}; {state}"
