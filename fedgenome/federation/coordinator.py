"""The coordinator: asks each method's questions of all sites, has the parties add, and lets it learn.

It is the main of a Flower ServerApp and works over any Flower Grid. It never sees a contribution:
sealed parts pass through it to the parties, and only their sum comes back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from flwr.serverapp import Grid

from fedgenome import trust
from fedgenome.errors import BudgetRefused, Refused, RoleError
from fedgenome.federation.checkpoint import Checkpoint, Progress
from fedgenome.federation.post import Post
from fedgenome.federation.wire import BUNDLE, Call
from fedgenome.methods.base import Following, Method
from fedgenome.query import Array, Query, Question, Roster, State, Terms, choose_scale, digest_of
from fedgenome.secure import ring
from fedgenome.secure.runkeys import RunKey
from fedgenome.streams import Root
from fedgenome.study import Plan, Study

log = logging.getLogger(__name__)

_TRIES = 5  # attempts at one query before the run ends, to be resumed by someone who has looked
_PLAIN = ("sum",)
_ANEW = ("not-joined", "unreachable")  # refusals of an agent that was, or will have been, started anew


class Summing(Protocol):
    """What a coordinator asks of the parties: :class:`fedgenome.secure.parties.Parties`, or those behind a Post.

    Attributes:
        recovers: Whether a next attempt may work after a role failed.
    """

    recovers: ClassVar[bool]

    def ready(self) -> tuple[str, ...]:
        """Wait until every party is up and return their public identities, in order."""

    def pin(self, study: str, run: str, terms: Terms, roster: Roster) -> tuple[RunKey, ...]:
        """Tell them the study's digest, the run, its terms and roster; return the keys they made for it."""

    def begin(self, query: Query) -> None:
        """Open ``query``."""

    def deliver(self, site: str, parts: Sequence[bytes | memoryview], stamp: bytes | memoryview) -> None:
        """Send a site's sealed parts, one to each party, and its stamp to all."""

    def reveal(self, sites: Sequence[str]) -> Array:
        """Open the sum of ``sites``, all that were delivered."""

    def select(self, sites: Sequence[str]) -> Array:
        """Open the winners among the scores of ``sites``, all that were delivered."""

    def abort(self) -> None:
        """Make them forget the open query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a coordinator is to do.

    Attributes:
        study: What all sides agreed to.
        plan: Its priced plan.
        run: The run's id, kept over resumes.
        methods: Each method by its label, in the study's order.
        parties: The running parties; None where the study says secure = off.
        folder: Where checkpoints lie.
        root: Randomness of starting weights and the like; never of noise.
        on_step: Told (method, where it stands) after every query.
        timeout: Seconds a site may take for one answer.
        signatures: Who signed the Study, {signer, signature}: sites of a deployment look for their signer's.
    """

    study: Study
    plan: Plan
    run: str
    methods: Mapping[str, Method]
    parties: Summing | None
    folder: Path
    root: Root
    on_step: Callable[[str, Progress], None] = lambda method, progress: None
    timeout: float = 600.0
    signatures: Sequence[Mapping[str, str]] = ()


class Coordinator:
    """Conducts one job over a grid.

    Attributes:
        releases: Each method's released arrays, once it is done.
        answered: Queries answered, by method.
        uploaded: Bytes that sites sent for the sums.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._terms = job.study.terms(job.plan)
        identity = {"run": job.run, "study": job.study.digest, "plan": job.plan.digest}
        self._checkpoint = Checkpoint(job.folder, identity)
        self._sites = [site for site, _ in self._terms.caps]
        self._post: Post
        self._refused: dict[str, str] = {}  # by site, of the last call
        self._joining = Call(header={})  # what sites were asked to join
        self._late: set[str] = set()  # who was not in the last sum
        self._forgot: set[str] = set()  # who was started anew, and has to join again
        self.releases: dict[str, dict[str, Array]] = {}
        self.answered: dict[str, int] = {}
        self.uploaded = 0

    def conduct(self, grid: Grid) -> None:
        """Run every method to its end over ``grid``."""
        self.converse(Post(grid, self._job.timeout))

    def converse(self, post: Post) -> None:
        """Run every method to its end with the roles that ``post`` reaches."""
        self._post = post
        self._discover()
        self._join()
        for label, method in self._job.methods.items():
            self.releases[label] = method.release(self._run(label, method))
        for site, _ in self._ask("close", Call(header={})):
            log.debug("%s closed the run", site)

    def _run(self, label: str, method: Method) -> dict[str, Array]:
        progress = self._checkpoint.load(label) or Progress(state=self._start(label, method), step=0)
        while (question := method.ask(progress.state)) is not None:
            self._rejoin()
            question = trust.asked(question, self._job.study.privacy.trust)
            total = self._total(label, progress.step, question)
            progress = Progress(state=method.learn(progress.state, question, total), step=progress.step + 1)
            self._checkpoint.save(label, progress)
            self._job.on_step(label, progress)
        self.answered[label] = progress.step
        return progress.state

    def _start(self, label: str, method: Method) -> State:
        state = method.start(self._job.root.stream("start", label).generator())
        if not isinstance(method, Following):
            return state
        about = method.followed({name: self._job.methods[name] for name in self.releases})
        return method.follow(state, self._job.methods[about], self.releases[about])

    def _total(self, label: str, step: int, question: Question) -> Array:
        """Ask until an attempt succeeds, or the plan's reserve or patience is used up."""
        for _ in range(_TRIES):
            query = self._next(label, step, question)
            try:
                return self._attempt(query)
            except (_AttemptFailed, RoleError) as fault:
                if isinstance(fault, RoleError) and not (self._job.parties and self._job.parties.recovers):
                    raise
                last = f"{label}, query {step}, attempt {query.attempt} failed: {fault}"
                log.warning("%s", last)
            if self._job.parties is not None:
                self._job.parties.abort()
            # A restarted site has to join again; without a quorum no attempt of the reserve is spent in vain.
            self._discover()
            self._join()
        raise RoleError(last)

    def _next(self, label: str, step: int, question: Question) -> Query:
        mechanism = question.mechanism
        form = "none" if mechanism is None else digest_of("form", repr(mechanism.form))
        steps = 1 if mechanism is None else mechanism.count
        most = math.inf if mechanism is None else self._job.plan.allowed(mechanism)
        if self._checkpoint.asked(form) + steps > most:
            raise BudgetRefused(
                f"{label}, query {step}: the plan's {most} queries of this form are used up, retries included; "
                "a new run with a larger privacy.retries leaves more"
            )
        attempt = self._checkpoint.asking(label, step, form, steps)
        scale = choose_scale(question, self._terms)
        when = {"study": self._job.study.digest, "run": self._job.run, "method": label, "step": step}
        return Query(question=question, terms=self._terms, scale=scale, attempt=attempt, **when)  # type: ignore[arg-type]

    def _attempt(self, query: Query) -> Array:
        """Return what one attempt gives: the opened sum in model units, float64, or the winners, int64 (k,)."""
        job = self._job
        call = Call(header={"query": query.header()}, arrays=query.question.payload)
        if job.parties is not None:
            job.parties.begin(query)
        enough = len(self._sites) - len(self._late) >= query.terms.quorum
        total: Array = np.zeros(query.question.length, ring.dtype_of(query.width))
        included = []
        for site, answer in self._ask("ask", call, late=self._late if enough else ()):
            if self._add(query, site, answer, total):
                self.uploaded += sum(array.nbytes for array in answer.arrays.values())
                included.append(site)
        self._late = set(self._sites).difference(included)
        if len(included) < query.terms.quorum:
            silent = self._named(site for site in self._sites if site not in included)
            raise _AttemptFailed(f"{len(included)} sites answered, {query.terms.quorum} needed; not {silent}")
        try:
            if job.parties is not None:
                if query.selection is not None:
                    return job.parties.select(included)
                total = job.parties.reveal(included)
        except Refused as fault:
            raise _AttemptFailed(f"a party refused to open: {fault}") from None
        ring.check_range(total, query.limit)
        if query.question.reduce == "select":  # without noise: ties go to the lowest index here too
            return np.argsort(-ring.signed(total), kind="stable")[: query.question.reply_length]
        return ring.decode(total, query.scale, query.width)

    def _add(self, query: Query, site: str, answer: Call, total: Array) -> bool:
        """Hand a site's parts to the parties, or add its plain vector; False if the answer has no such thing.

        Raises:
            _AttemptFailed: a party refused a part, so that no set with this site can be opened.
        """
        parties = self._job.parties
        wanted = _PLAIN if parties is None else BUNDLE
        if set(answer.arrays) != set(wanted):
            log.warning("%s answered without %s", site, ", ".join(wanted))
            return False
        if parties is None:
            vector = answer.arrays["sum"]
            if vector.shape != total.shape or vector.dtype != total.dtype:
                log.warning("%s answered with a vector of another length or width", site)
                return False
            total += vector
            return True
        try:
            *parts, stamp = (answer.arrays[name].reshape(-1).view(np.uint8).data for name in BUNDLE)
            parties.deliver(site, parts, stamp)
        except Refused as fault:
            raise _AttemptFailed(f"a party refused a part: {fault}") from None
        return True

    def _discover(self) -> None:
        self._post.discover(self._sites, self._terms.quorum)

    def _join(self) -> None:
        """Have every site pin the study and reserve the plan, before anything is asked."""
        job = self._job
        keys: tuple[RunKey, ...] = ()
        if job.parties is not None:
            job.parties.ready()
            keys = job.parties.pin(job.study.digest, job.run, self._terms, job.study.keys)
        study, plan = (model.model_dump(mode="json", by_alias=True) for model in (job.study, job.plan))
        header = {"study": study, "plan": plan, "run": job.run, "keys": [key.to_json() for key in keys]}
        header["signatures"] = list(job.signatures)
        self._joining = Call(header=header)
        joined = [site for site, _ in self._ask("join", self._joining)]
        self._late = set(self._sites).difference(joined)
        if len(joined) < self._terms.quorum:
            absent = self._named(site for site in self._sites if site not in joined)
            raise RoleError(
                f"{len(joined)} of {self._terms.sites} sites joined, quorum is {self._terms.quorum}; not {absent}"
            )

    def _rejoin(self) -> None:
        """Let in again who was started anew since the last join, before the next question."""
        back, self._forgot = self._forgot, set()
        try:
            for site, _ in self._ask("join", self._joining, back, late=back):
                self._late.discard(site)
        except BudgetRefused as fault:  # of one who was not there when the run began, and is not needed
            log.warning("%s; the run goes on without it", fault)

    def _ask(
        self, kind: str, call: Call, sites: Collection[str] | None = None, late: Collection[str] = ()
    ) -> Iterator[tuple[str, Call]]:
        """Send ``call`` to every site that was found; yield (site, answer) as they come, refusals left out.

        Raises:
            BudgetRefused: a site's ledger has too little left.
        """
        self._refused = {}
        for site, answer in self._post.ask(kind, dict.fromkeys(self._sites if sites is None else sites, call), late):
            if answer.refusal is None:
                yield site, answer
                continue
            code, rule = answer.refusal
            if code == "budget":
                raise BudgetRefused(f"{site}: {rule}")
            self._refused[site] = f"{code}: {rule}"
            if code in _ANEW:
                self._forgot.add(site)
            log.warning("%s refuses to %s: %s (%s)", site, kind, code, rule)

    def _named(self, sites: Iterable[str]) -> str:
        """Return the names of sites that gave nothing, each with the rule by which it refused, if it did."""
        return ", ".join(f"{site} ({self._refused[site]})" if site in self._refused else site for site in sites)


class _AttemptFailed(Exception):
    """An attempt gave no sum; a new one may."""
