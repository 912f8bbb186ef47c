"""A hospital answers what it approved, when it is time, and writes down what came of it."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.deployment.hospital import approvals, journal
from fedgenome.deployment.hospital.serving import Desk, Schedule
from fedgenome.federation.wire import Call
from fedgenome.privacy.ledger import Ledger
from fedgenome.secure.identity import Identity
from tests.deployment_roles.hospitals import DEALER, SIGNER, agreed, joining, rules, signed
from tests.federation.small import PARTY_IDS, SITE_IDS, make_plan
from tests.federation.test_site import query_of

STUDY = agreed()
PRIVACY = {"trust": "distributed", "epsilon": 5.0, "delta": 1e-3}


def asking(study=STUDY, **changes):
    query = query_of(study, **changes)
    return Call(header={"query": query.header()}, arrays=query.question.payload)


def lines(config):
    return journal.last(config.state / journal.FILE, 100)


def outcomes(config):
    return [(line["event"], line["outcome"]) for line in lines(config)]


# ---- When answers leave


@dataclass
class Clock:
    """A time that passes only when somebody works or sleeps."""

    now: float = 0.0
    slept: list = field(default_factory=list)

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def schedule(self, seconds):
        return Schedule(seconds=seconds, clock=lambda: self.now, sleep=self.sleep)


@dataclass
class Worker:
    """An agent whose work takes as long as it is told."""

    agent: object
    clock: Clock
    seconds: float = 0.0

    def handle(self, kind, call):
        self.clock.now += self.seconds
        return self.agent.handle(kind, call)


@given(since=st.floats(0, 1e6), tick=st.floats(0.01, 10), part=st.floats(0, 1))
def test_work_within_a_tick_leaves_at_that_tick_whatever_it_took(since, tick, part):
    clock = Clock(now=since + tick * part * 0.999)
    late = clock.schedule(tick).hold(since)
    assert clock.now == pytest.approx(since + tick, abs=1e-6 * tick + 1e-9) and not late


@given(since=st.floats(0, 1e6), missed=st.integers(1, 50), part=st.floats(0.001, 0.999))
def test_work_that_misses_ticks_leaves_at_the_next_and_is_told(since, missed, part):
    clock = Clock(now=since + missed + part)
    assert clock.schedule(1.0).hold(since)
    assert clock.now == pytest.approx(since + missed + 1)


def taken(desk, clock, worker, work):
    """Return how long an answer took, for each length of work."""
    durations = []
    for attempt, worker.seconds in enumerate(work):
        before = clock.now
        desk.handle("ask", asking(kind_of(), attempt=attempt))
        durations.append(clock.now - before)
    return durations


def kind_of():
    return agreed(kind="cvae")


class Hasty(Desk):
    """The broken twin: what is ready leaves."""

    def handle(self, kind, call):
        return self._noted(kind, call)


@pytest.mark.parametrize(("made", "alike"), [(Desk, 1), (Hasty, 3)])
def test_time_an_answer_takes_tells_nothing_of_the_work(settled, desk, made, alike):
    config, clock, workers = settled(), Clock(), []

    def working(opened):
        workers.append(Worker(opened.agent, clock))
        return replace(opened, agent=workers[0])

    approvals.approve(config, signed(kind_of()))
    counter = desk(config, clock.schedule(1.0), working)
    counter.__class__ = made
    assert counter.handle("join", joining(kind_of())).refusal is None
    assert len({round(t, 6) for t in taken(counter, clock, workers[0], [0.1, 0.5, 0.9])}) == alike


def test_refusals_repeats_and_joins_wait_for_their_tick_and_greetings_do_not(settled, desk):
    config, clock = settled(), Clock()
    counter = desk(config, clock.schedule(1.0))
    for number, (kind, call) in enumerate([("join", joining(STUDY)), ("ask", asking()), ("close", Call(header={}))], 1):
        assert counter.handle(kind, call).refusal is not None
        assert clock.now == number
    assert counter.handle("hello", Call(header={})).header == {"site": "north"}
    assert clock.now == 3


# ---- What is answered


def test_approved_study_is_answered_and_every_answer_is_in_the_journal(settled, desk):
    config = settled()
    approvals.approve(config, signed(STUDY))
    counter = desk(config)
    calls = [("join", joining(STUDY)), ("ask", asking()), ("ask", asking()), ("ask", asking(attempt=1))]
    for kind, call in calls:
        counter.handle(kind, call)
    assert [outcome for _, outcome in outcomes(config)] == ["answered", "answered", "answered", "outside-plan"]
    joined, asked, again, refused = lines(config)
    assert joined["reserved"] == [5.0, 1e-3] and joined["study"] == STUDY.digest and joined["run"] == "run-1"
    assert asked["charged"]["kind"] == "gaussian" and (again["charged"], refused["charged"]) == (None, None)
    assert (asked["method"], asked["step"], refused["attempt"]) == ("marginals", 0, 1)
    assert asked["ledger"] == again["ledger"] != joined["ledger"]


def keyed(parties=PARTY_IDS, dealer=""):
    keys = {name: one.public for name, one in SITE_IDS.items()}
    return STUDY.with_keys(keys, [one.public for one in parties], dealer)


ENEMIES = {
    "another signer": (STUDY, (Identity.generate(),), "policy.signers"),
    "other parties": (keyed([Identity.generate() for _ in PARTY_IDS]), (SIGNER,), "policy.parties"),
    "another dealer": (keyed(dealer=DEALER.public), (SIGNER,), "policy.dealer"),
    "a weaker quorum": (agreed(quorum=1), (SIGNER,), "policy.quorum"),
    "t = 0": (agreed(privacy=PRIVACY | {"colluders": 0}), (SIGNER,), "policy.colluders"),
    "a greater delta": (agreed(privacy=PRIVACY | {"delta": 1.5e-3}), (SIGNER,), "policy.delta"),
    "more than the budget": (agreed(privacy=PRIVACY | {"epsilon": 13.0}), (SIGNER,), "policy.budget_epsilon"),
    "another method": (agreed(kind="linear"), (SIGNER,), "policy.methods"),
    "trust site": (agreed(privacy=PRIVACY | {"trust": "site"}), (SIGNER,), "policy.trust"),
    "trust none": (agreed("none"), (SIGNER,), "public: trust 'none'"),
    "secure off": (agreed("local", secure="off"), (SIGNER,), "public: secure = 'off'"),
}


@pytest.mark.parametrize("what", ENEMIES)
def test_coordinator_cannot_weaken_the_policy_even_of_an_approved_study(settled, desk, what):
    study, by, rule = ENEMIES[what]
    config = settled()
    made = signed(study, *by)
    counter = desk(config)
    plan = make_plan(STUDY)  # never looked at
    assert counter.handle("join", joining(study, made, plan)).refusal[0] == "not-approved"
    (config.state / approvals.FOLDER).mkdir()
    made.save(config.state / approvals.FOLDER / f"{study.digest}.json")
    code, said = counter.handle("join", joining(study, made, plan)).refusal
    assert code == "policy" and said.startswith(rule)
    assert '"reserve"' not in (config.state / "ledger.jsonl").read_text()


def test_seeded_site_answers_public_data_only(settled, desk):
    config = settled(public=True, seed=7)
    approvals.approve(config, signed(STUDY))
    assert desk(config).handle("join", joining(STUDY)).refusal is None
    assert '"kind":"simulation"' in (config.state / "ledger.jsonl").read_text()
    private = config.model_copy(update={"public": False})
    with pytest.raises(approvals.Refused, match="public: a seeded site"):
        approvals.admit(private, STUDY, None, signed(STUDY).wire)


def test_approval_taken_back_ends_a_run_under_way(settled, desk):
    config = settled()
    approvals.approve(config, signed(STUDY))
    counter = desk(config)
    assert counter.handle("join", joining(STUDY)).refusal is None
    approvals.revoke(config.state, STUDY.digest)
    assert counter.handle("ask", asking()).refusal[0] == "not-approved"
    approvals.approve(config, signed(STUDY))
    assert counter.handle("ask", asking()).refusal is None


@pytest.mark.parametrize("header", [{}, {"query": 3}, {"query": {"study": [], "step": 1e400, "run": "x" * 999}}])
def test_malformed_question_is_refused_and_its_names_are_not_kept(settled, desk, header):
    config = settled()
    assert desk(config).handle("ask", Call(header=header)).refusal[0] == "not-approved"
    (line,) = lines(config)
    assert {line[name] for name in ("run", "study", "method", "step", "attempt")} == {None}


def test_nothing_leaves_that_could_not_be_written_down(settled, desk):
    config = settled()
    approvals.approve(config, signed(STUDY))
    counter = desk(config)
    counter.handle("join", joining(STUDY))
    note, counter._journal.note = counter._journal.note, broken
    answer = counter.handle("ask", asking())
    assert answer.refusal[0] == "journal-closed" and not answer.arrays
    counter._journal.note = note
    assert counter.handle("ask", asking()).arrays  # kept by the site, and charged once
    with pytest.raises(approvals.Refused, match="ledger-busy"):
        Ledger(config.state / "ledger.jsonl", "x")
    assert (config.state / "ledger.jsonl").read_text().count('"charge"') == 1


def broken(*_, **__):
    raise OSError(28, "No space left on device")


def test_metrics_tell_calls_and_budget(settled, desk):
    config = settled(table=rules(budget_epsilon=9.0))
    approvals.approve(config, signed(STUDY))
    counter = desk(config)
    for kind, call in (("join", joining(STUDY)), ("ask", asking()), ("ask", asking(attempt=1))):
        counter.handle(kind, call)
    told = (config.state / "metrics.prom").read_text()
    for line in (
        'calls_total{kind="ask",outcome="answered"} 1.0',
        'calls_total{kind="ask",outcome="outside-plan"} 1.0',
        'left{of="epsilon"} 4.0',
        'spent{of="epsilon"} 5.0',
    ):
        assert f"fedgenome_site_{line}" in told
