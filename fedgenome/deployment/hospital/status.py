"""What ``fedgenome site status`` and ``health`` tell of a site: read from its files and its socket."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from fedgenome import ledgers
from fedgenome.deployment.hospital import approvals, journal
from fedgenome.deployment.hospital.serving import SERVING
from fedgenome.deployment.hospital.site import LEDGER, SiteConfig
from fedgenome.deployment.roles import socket_key
from fedgenome.errors import SpecError
from fedgenome.federation import agents
from fedgenome.federation.wire import Call
from fedgenome.privacy.books import Cost

_LAST = 5  # answers that are shown
_HEALTH_SECONDS = 5.0  # that an agent may take to say its name


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a site stands.

    Attributes:
        site: Its name.
        answers: Whether its agent answers on the socket.
        since: Since when it serves, UTC; None where it does not.
        approved: (digest, name) of every approved Study.
        runs: (run, Study digest, status, ε) of every run of the ledger; ε is None where nothing is claimed.
        left: (ε, δ) that no plan holds; None without a budget.
        last: The last lines of the journal.
    """

    site: str
    answers: bool
    since: str | None
    approved: tuple[tuple[str, str], ...]
    runs: tuple[tuple[str, str, str, float | None], ...]
    left: Cost | None
    last: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def healthy(config: SiteConfig, seconds: float = _HEALTH_SECONDS) -> str:
    """Return why the agent is not well; nothing if it says its name on the socket.

    Args:
        seconds: How long it may take.
    """
    try:
        key = socket_key(config)
    except SpecError as fault:
        return str(fault)
    answer = agents.reach(str(config.socket), key, 0, seconds)("hello", Call(header={}))
    if answer.refusal is not None:
        return answer.refusal[1]
    found = answer.header.get("site")
    return "" if found == config.name else f"another site answers on the socket: {found}"


def status(config: SiteConfig) -> Status:
    """Read how a site stands. It may serve meanwhile.

    Raises:
        SpecError: its ledger or an approval is damaged.
    """
    answers, path = not healthy(config), config.state / LEDGER
    book = ledgers.read(path) if path.exists() else None
    since = config.state / SERVING
    budget = config.budget
    return Status(
        site=config.name,
        answers=answers,
        since=json.loads(since.read_text())["since"] if answers and since.exists() else None,
        approved=tuple((one.study.digest, one.study.name) for one in approvals.listed(config.state)),
        runs=tuple((run.run, run.study, run.status, run.epsilon) for run in book.entries) if book else (),
        left=budget.left(book.reserved if book else (0.0, 0.0)) if budget else None,
        last=tuple(journal.last(config.state / journal.FILE, _LAST)),
    )


def text(found: Status) -> str:
    """Return a status as lines for a terminal."""
    lines = [f"{found.site}: " + (f"serving since {found.since}" if found.answers else "not serving")]
    lines += [f"approved {name} {digest}" for digest, name in found.approved] or ["waiting: no study is approved"]
    for run, study, state, epsilon in found.runs:
        claim = "no ε" if epsilon is None else f"ε = {epsilon:.6g}"
        lines.append(f"run {run} of study {study[:8]}…: {state}, {claim}")
    if found.left is not None:
        lines.append(f"budget left: ε = {found.left[0]:.6g}, δ = {found.left[1]:.3g}")
    for line in found.last:
        where = " ".join(str(line[field]) for field in ("method", "step", "attempt") if line.get(field) is not None)
        lines.append(f"{line.get('time')} {line.get('event')} {where} {line.get('outcome')}".replace("  ", " "))
    return "\n".join(lines)
