"""The site agent: the long-lived process of a hospital that holds data, keys and ledger.

It alone samples, clips (through the method), rounds, shares, seals and charges. It answers four
calls (``federation.wire``) and refuses, with a code and the rule that decided, whatever the pinned
Study and plan do not allow. No error text that could hold data ever leaves.
"""

from __future__ import annotations

import itertools
import logging
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pydantic

from fedgenome import files, trust
from fedgenome.cohort import canaries
from fedgenome.cohort.shard import Shard
from fedgenome.errors import BudgetRefused, FedgenomeError, Refused, WireError
from fedgenome.federation import home, wire
from fedgenome.federation.sanitized import sanitized
from fedgenome.federation.wire import Call, refusal
from fedgenome.methods import registry
from fedgenome.methods.base import DonorStreams, Following, Method
from fedgenome.privacy.coins import DonorNormals, Moment, chosen
from fedgenome.privacy.ledger import Ledger
from fedgenome.query import Array, Query, Terms, choose_scale, from_header
from fedgenome.secure import bundle, ring
from fedgenome.secure.envelope import PublicKey
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from fedgenome.secure.party import attempt_key
from fedgenome.secure.runkeys import RunKey, check_all
from fedgenome.streams import Root
from fedgenome.study import Plan, Study

log = logging.getLogger(__name__)

Signatures = Sequence[Mapping[str, object]]  # records of signer and signature, as they came: nobody has checked them
Admit = Callable[[Study, Plan, Signatures], None]  # raises Refused where the site takes no part
Load = Callable[[Study], Shard]  # the site's data as a Study names and orders them
Present = Callable[[Shard], Shard]  # leaves out the donors who withdrew


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a site pinned when it joined a run; ``index`` is its own in the roster."""

    run: str
    study: Study
    plan: Plan
    terms: Terms
    index: int
    shard: Shard
    methods: Mapping[str, Method]
    publics: tuple[PublicKey, ...]


def pinned(digest: str) -> Admit:
    """Return what admits the one Study of this hex digest, whoever signed it: a simulation's operator agreed to it."""

    def admit(study: Study, _plan: Plan, _signatures: Signatures) -> None:
        if study.digest != digest:
            raise Refused("other-study", "the study's digest is not the one pinned here")

    return admit


class SiteAgent:
    """One hospital's agent.

    Args:
        name: The site's name in the roster.
        load: Gives its data, aligned to a Study that it admits; asked at every join, so it keeps what it read.
        root: Its randomness; a seeded root is refused unless ``public``.
        ledger: Its ledger, opened.
        identity: Its key pair of the roster: it signs every bundle.
        once: What it answered, in this life and earlier ones.
        admit: Refuses a Study, plan or signatures that this site did not agree to (:func:`pinned`).
        public: The operator declares the shard public: simulations and ``none`` are allowed.
        present: Leaves out who withdrew, before every question; by default nobody can.
    """

    def __init__(
        self,
        name: str,
        load: Load,
        *,
        root: Root,
        ledger: Ledger,
        identity: Identity,
        once: Once,
        admit: Admit,
        public: bool,
        present: Present = lambda shard: shard,
    ) -> None:
        self.name = name
        self._load = load
        self._root = root
        self._ledger = ledger
        self._identity = identity
        self._once = once
        self._admits = admit
        self._public = public
        self._present = present
        self._run: _Run | None = None
        self._room = 0  # bytes of the longest answer so far
        self._turn = threading.Lock()

    def handle(self, kind: str, call: Call) -> Call:
        """Answer one call; every fault becomes a refusal that carries no data.

        Calls may come from several threads: an earlier coordinator's may still be at work when the next
        one's comes. ``join`` and ``ask`` take turns, or one attempt asked twice would be answered twice.
        """
        try:
            match kind:
                case "hello":
                    return self._reply()
                case "join" | "ask" | "close":
                    with self._turn:
                        return {"join": self._join, "ask": self._ask, "close": self._close}[kind](call)
                case _:
                    return refusal("unknown-kind", "hello, join, ask or close")
        except Refused as fault:
            return refusal(fault.code, fault.rule)
        except BudgetRefused as fault:
            return refusal("budget", str(fault))
        except FedgenomeError as fault:
            # The rule stays here: a SpecError may quote a record.
            log.error("site %s refuses a %s: %s", self.name, kind, fault)
            return refusal("invalid", f"the {kind} breaks a rule; the site's log says which")
        except Exception as fault:
            log.exception("site %s failed at a %s", self.name, kind)
            if isinstance(fault, OSError) and fault.errno in files.NO_ROOM:
                return refusal("disk-full", "the site could not write down what it must")
            return refusal("internal", "the site's log says what failed")

    def _reply(self, arrays: Mapping[str, Array] | None = None, **header: object) -> Call:
        return Call(header={"site": self.name, **header}, arrays=arrays or {})

    def _join(self, call: Call) -> Call:
        try:
            study = Study.model_validate(call.header["study"])
            plan = Plan.model_validate(call.header["plan"])
            run = str(call.header["run"])
            keys = [RunKey.from_json(told) for told in call.header["keys"]]
            signatures = list(call.header.get("signatures", ()))
        except (KeyError, TypeError, WireError, pydantic.ValidationError):
            raise Refused("malformed", "join: study, plan, run, keys, signatures") from None
        shard = self._check(study, plan, signatures)
        self._once.make_room(self._room)  # a site that cannot answer says so before others are asked, and charged
        publics = self._party_keys(study, plan, run, keys)
        price = study.privacy.epsilon, study.privacy.delta
        self._ledger.reserve(run, study.digest, plan, *price, kind=self._claim(study), unit=trust.unit(study))
        self._run = _Run(
            run=run,
            study=study,
            plan=plan,
            terms=study.terms(plan),
            index=self._index(study),
            shard=sanitized(study, self._holding(study, run, shard), self._lasting("sanitize"), self._ledger),
            methods=registry.build_all(study),
            publics=publics,
        )
        return self._reply()

    def _holding(self, study: Study, run: str, shard: Shard) -> Shard:
        """Return the shard with donors held and canaries planted, by coins of the run that outlast a restart."""
        if study.holdout is None:
            return shard
        root = self._lasting("holdout", run)
        held = replace(shard, held=chosen(root, ("holdout",), shard.donors, study.holdout.share))
        if not (count := study.holdout.canaries):
            return held
        planted = chosen(root, ("canaries",), [str(i) for i in range(count)], 0.5)
        return canaries.beside(held, study.schema_, self._index(study) * count, planted)

    def _lasting(self, *labels: str) -> Root:
        """Return a root that outlasts a restart: of the site's identity, or, in a simulation, of the seed."""
        return self._root if self._root.seeded else self._identity.root(*labels)

    def _index(self, study: Study) -> int:
        return [site.name for site in study.roster].index(self.name)

    def _party_keys(self, study: Study, plan: Plan, run: str, keys: Sequence[RunKey]) -> tuple[PublicKey, ...]:
        """Return the keys to seal to: those that the pinned Study's parties made for this run and these terms."""
        if study.secure == "off":
            return ()
        if study.keys.keys[self.name] != self._identity.public or not study.parties:
            raise Refused("other-roster", "the study does not name this site's key, or no parties' keys")
        try:
            return check_all(keys, study.parties, study.digest, run, study.terms(plan))
        except WireError as fault:
            raise Refused("bad-keys", str(fault)) from None

    def _claim(self, study: Study) -> str:
        if study.privacy.trust == "none":
            return "none"
        return "simulation" if self._root.seeded else "private"

    def _check(self, study: Study, plan: Plan, signatures: Signatures) -> Shard:
        """Refuse a study or plan that this site did not agree to, before anything is reserved; return its data."""
        self._admits(study, plan, signatures)
        cap = {site.name: site.cap for site in study.roster}.get(self.name)
        if cap is None:
            raise Refused("not-in-roster", "the roster does not name this site")
        if (self._root.seeded or study.privacy.trust == "none") and not self._public:
            raise Refused("not-public", "a seeded run or trust 'none' needs a cohort declared public")
        if study.privacy.epsilon is not None and study.privacy.delta is not None:
            from fedgenome.privacy import accounting  # slow to import, and needed only where a plan is priced

            if accounting.priced(plan, study.privacy.epsilon, study.privacy.delta) > study.privacy.epsilon:
                raise Refused("over-epsilon", "the plan costs more than the study's epsilon")
        shard = self._load(study)
        made = study.holdout.canaries if study.holdout else 0
        if shard.n_donors + made > cap:
            log.error(
                "site %s holds %d donors and %d canaries, over its cap of %d", self.name, shard.n_donors, made, cap
            )
            raise Refused("over-cap", "the site takes no part; its log says why")
        return shard

    def _ask(self, call: Call) -> Call:
        run = self._run
        if run is None:
            raise Refused("not-joined", "join comes before ask")
        query = from_header(call.header["query"], run.terms, call.arrays)
        moment = attempt_key(query)
        if (digest := self._once.told(moment)) is not None:
            return self._repeat(query, moment, digest)
        self._present(run.shard)  # whatever is wrong with it shows before the charge
        self._room = max(self._room, _SIZES.size + bundle.upload_bytes(query))
        self._once.make_room(self._room)
        self._admit(query, run)
        answer = self._seal(query, run, self._contribution(query, run))
        # On the disk before it leaves: after a crash at any point these bytes are repeated or none are sent.
        self._once.record(moment, query.digest, _pieces(answer))
        return answer

    def _close(self, _: Call) -> Call:
        """End the run for good: its ledger takes no further charge. What was answered may be asked for again."""
        if self._run is None:
            raise Refused("not-joined", "join comes before close")
        self._ledger.settle(self._run.run)
        return self._reply()

    def _repeat(self, query: Query, moment: str, digest: str) -> Call:
        """Give the stored answer to a repeated question; refuse a changed one (DESIGN §5, once only)."""
        stored = self._once.body(moment) if digest == query.digest else None
        if stored is None:
            raise Refused("asked-before", "one bundle per (run, method, step, attempt), and only the last is kept")
        return self._reply(_arrays(stored, query))

    def _admit(self, query: Query, run: _Run) -> None:
        """Refuse what the plan does not hold, and charge the rest: before a share leaves."""
        question, mechanism = query.question, query.question.mechanism
        if query.study != run.study.digest or query.run != run.run:
            raise Refused("other-study", "the query names another study or run")
        if query.method not in run.methods:
            raise Refused("unknown-method", "the study names no such method")
        if query.selection is not None and not run.study.dealer:
            raise Refused("unsupported", "a selection needs the dealer of the roster")
        if question.reduce == "select" and question.unit != "donor":
            raise Refused("unsupported", "selections over donors only")
        if query.scale != choose_scale(question, query.terms):
            raise Refused("wrong-scale", "the scale is not the one that the terms give")
        if mechanism is None:
            if run.study.privacy.trust != "none":
                raise Refused("outside-plan", "a query without a mechanism needs trust 'none'")
            self._ledger.charge(run.run, None)
            return
        trust.check(question, run.study.privacy.trust)
        if mechanism.scope != query.method:
            raise Refused("outside-plan", "a method charges its own scope")
        self._ledger.charge(run.run, mechanism, mechanism.count)

    def _contribution(self, query: Query, run: _Run) -> Array:
        """Sample, answer, check, round, and noise what is noised at home: this site's vector as ring words."""
        question = query.question
        moment: Moment = (query.digest,)
        if self._root.seeded:  # never by digest or run id, which differ between engines (DESIGN §7.4)
            moment = (query.method, query.step, query.attempt)
        noise = home.begin_noise(query, self._root, moment)
        # After the charge: a run whose charge is not in the ledger yet cannot hold a donor who withdrew by now.
        method, shard = run.methods[query.method], self._present(run.shard)
        sample, draws = self._sample(query, shard if isinstance(method, Following) else shard.trained_on, moment)
        answer = method.answer(question, sample, draws)
        if not answer.suits(question):
            raise Refused("bound", "the answer is not clipped and added as the question says: bound, length, precision")
        words = ring.encode(answer.value, query.scale, query.width)
        if noise:
            noise.add_to(words)
        return words

    def _sample(self, query: Query, shard: Shard, moment: Moment) -> tuple[Shard, DonorStreams]:
        """Return whom the method sees, and its draws; a site's local training at home sees noised steps only."""
        mechanism = query.question.mechanism
        if query.question.unit == "site":
            steps = home.Steps(query, shard, self._root, moment)
            unseen = mechanism is not None and mechanism.where == "home"
            return (shard.take(np.zeros(shard.n_donors, np.bool_)) if unseen else shard), steps
        if mechanism is not None and mechanism.sampling < 1:
            shard = shard.take(chosen(self._root, moment, shard.donors, mechanism.sampling))
        return shard, DonorNormals(self._root, moment)

    def _seal(self, query: Query, run: _Run, words: Array) -> Call:
        if run.study.secure == "off":
            return self._reply({"sum": words})
        parts = bundle.seal(query, self.name, run.index, words, run.publics)
        stamp = bundle.sign(query, self.name, parts, self._identity)
        named = dict(zip(wire.BUNDLE, (*parts, stamp), strict=True))
        return self._reply({name: np.frombuffer(piece, np.uint8) for name, piece in named.items()})


_SIZES = struct.Struct(">4Q")  # bytes of the parts and the stamp, before them; four zeros before a plain sum


def _pieces(answer: Call) -> list[bytes | memoryview]:
    """Return what is stored of an answer."""
    sealed = [answer.arrays[name].data for name in wire.BUNDLE if name in answer.arrays]
    sizes = [len(piece) for piece in sealed] or [0] * len(wire.BUNDLE)
    return [_SIZES.pack(*sizes), *(sealed or [answer.arrays["sum"].data.cast("B")])]


def _arrays(stored: bytes, query: Query) -> dict[str, Array]:
    """Return the arrays of the answer that :func:`_pieces` took apart."""
    sizes = _SIZES.unpack_from(stored)
    if not any(sizes):
        return {"sum": ring.as_words(stored[_SIZES.size :], query.width)}
    ends = np.cumsum([_SIZES.size, *sizes])
    spans = itertools.pairwise(ends)
    return {
        name: np.frombuffer(stored[start:end], np.uint8) for name, (start, end) in zip(wire.BUNDLE, spans, strict=True)
    }
