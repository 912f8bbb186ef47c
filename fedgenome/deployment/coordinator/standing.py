"""Where a deployed run stands, for whoever looks at its folder: from files alone, nobody is asked."""

from __future__ import annotations

import datetime
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fedgenome.card import epsilon_text
from fedgenome.deployment.coordinator.training import JOB
from fedgenome.errors import SpecError
from fedgenome.federation import job
from fedgenome.federation.job import JobFolder
from fedgenome.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run stands.

    Attributes:
        run: Its id.
        study: The Study's name.
        state: waiting (for a Flower run to begin), running, done or failed.
        error: Why it failed.
        methods: Queries answered and planned (None: not known), by method.
        asked: The method whose queries are asked now.
        present: Sites that answered the last call.
        absent: Sites that did not.
        quorum: Fewest sites whose sum is opened.
        parties: Parties, and the dealer, that answered the last call.
        guarantee: What the plan costs, in words.
        since: When its Flower run began.
        updated: When it was last heard of.
    """

    run: str
    study: str
    state: str
    error: str
    methods: dict[str, tuple[int, int | None]]
    asked: str
    present: tuple[str, ...]
    absent: tuple[str, ...]
    quorum: int
    parties: tuple[str, ...]
    guarantee: str
    since: datetime.datetime | None
    updated: datetime.datetime | None

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read a job's folder, or that of a run on a deployment.

        Raises:
            SpecError: it is neither.
        """
        folder = _job(path)
        spec, progress, result = folder.spec(), folder.progress(), folder.result()
        state = "running" if progress else "waiting"
        if result is not None:
            state = "failed" if result.error else "done"
        sites = tuple(site.name for site in spec.study.roster)
        done = progress.done if progress else {}
        return cls(
            run=spec.run,
            study=spec.study.name,
            state=state,
            error=result.error.text if result and result.error else "",
            methods={one.label: (done.get(one.label, 0), spec.queries.get(one.label)) for one in spec.study.methods},
            asked=progress.method if progress else "",
            present=progress.present if progress else (),
            absent=progress.absent if progress else sites,
            quorum=spec.study.quorum,
            parties=progress.parties if progress else (),
            guarantee=_guarantee(spec.study, seeded=spec.seed is not None),
            since=progress.since if progress else None,
            updated=progress.updated if progress else None,
        )

    @property
    def over(self) -> bool:
        """True once nothing changes any more."""
        return self.state in ("done", "failed")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        told = asdict(self)
        return told | {name: told[name] and told[name].isoformat() for name in ("since", "updated")}

    def shown(self) -> Group:
        """Return it for a terminal."""
        grid = Table(title=f"{self.study} · run {self.run[:8]} · {self.state}", title_justify="left")
        for name in ("method", "answered", "planned"):
            grid.add_column(name, justify="left" if name == "method" else "right")
        for label, (answered, total) in self.methods.items():
            grid.add_row(label, str(answered), "?" if total is None else str(total))
        return Group(grid, *(Text(line) for line in self._lines()))

    def _lines(self) -> list[str]:
        lines = [f"sites    {_list(self.present)} present; {_list(self.absent)} absent; quorum {self.quorum}"]
        lines += [f"parties  {_list(self.parties)} present", f"plan     {self.guarantee}"]
        if self.since and self.updated:
            lines.append(f"since    {_ago(self.since)}; last heard of {_ago(self.updated)}")
        return lines + ([f"failed   {self.error}"] if self.error else [])


def _job(path: Path) -> JobFolder:
    pointer = path / "internal" / "state" / JOB
    if pointer.is_file():
        return JobFolder(Path(pointer.read_text(encoding="utf-8")))
    if (path / "internal").is_dir():
        raise SpecError(
            f"{path}: expected a run that was started with --on; this one ran, or runs, in one process, whose terminal "
            f"tells where it stands; how it ended is in {path / 'internal' / 'outcome.json'}"
        )
    if not (path / "job.json").is_file():
        raise SpecError(f"{path}: expected a job's folder, or that of a run started with --on, found neither")
    return JobFolder(path)


def _guarantee(study: Study, *, seeded: bool) -> str:
    privacy = study.privacy
    if privacy.epsilon is None or privacy.delta is None:
        return "no ε: trust model 'none' protects nobody"
    told = f"at most ε = {epsilon_text(privacy.epsilon)} at δ = {privacy.delta:g}, reserved whole at every site"
    return f"a seeded simulation without ε; without its seed {told}" if seeded else told


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def _ago(moment: datetime.datetime) -> str:
    seconds = int((job.now() - moment).total_seconds())
    ago = f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
    return f"{moment.astimezone().isoformat(sep=' ', timespec='seconds')} ({ago} ago)"


def text(told: Standing) -> str:
    """Return what of it a terminal or a log shows."""
    out = io.StringIO()
    Console(file=out, width=110, highlight=False).print(told.shown())
    return out.getvalue().rstrip()


def dumped(told: Standing) -> str:
    """Return it as one line of JSON."""
    return json.dumps(told.to_json())
