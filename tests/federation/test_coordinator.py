"""The coordinator over Flower's apps: sums, retries, resumes and failures."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from flwr.common.serde import message_from_proto, message_to_proto

from fedgenome.errors import BudgetRefused, RoleError
from fedgenome.federation import engines, site_app
from fedgenome.federation.coordinator import Coordinator
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.site import pinned
from fedgenome.federation.wire import Call, refusal
from fedgenome.secure.parties import Parties
from tests.federation.small import make_study, party_folder

PLAIN = {"trust": "none", "secure": "off"}


def conduct(job, agents, carry=lambda message: message):
    coordinator = Coordinator(job)
    handles = [getattr(agent, "handle", agent) for agent in agents]
    client = site_app.make(lambda context: handles[int(context.node_config["partition-id"])])
    coordinator.conduct(LocalGrid(client, len(agents), carry))
    return coordinator


def through_bytes(message):
    again = message_from_proto(
        type(message_to_proto(message)).FromString(message_to_proto(message).SerializeToString())
    )
    again.metadata.__dict__["_message_id"] = message.metadata.message_id
    return again


def both(agent, study, **changes):
    return [agent(study, "north", **changes), agent(study, "south", **changes)]


@pytest.fixture(scope="module")
def parties(tmp_path_factory):
    started = []

    def start(seed):
        folder = tmp_path_factory.mktemp("parties")
        started.append(Parties.start(folder, seed))
        started[-1].keep(party_folder(folder / "kept"))
        return started[-1]

    yield start
    for each in started:
        each.close()


def same(a, b):
    return all((a[method][name] == b[method][name]).all() for method in a for name in a[method])


def test_plain_sums_without_noise_are_the_pooled_tables(agent, make_job):
    study = make_study(**PLAIN)
    arrays = conduct(make_job(study), both(agent, study)).releases["marginals"]
    assert arrays["label_weights"] == pytest.approx([0.5, 0.5], abs=1e-3)


def test_secure_and_plain_sums_give_the_same_release_without_noise(agent, make_job, parties, tmp_path):
    plain, secure = make_study(**PLAIN), make_study(trust="none")
    one = conduct(make_job(plain), both(agent, plain)).releases
    two = conduct(make_job(secure, parties(None), folder=tmp_path / "two"), both(agent, secure)).releases
    assert same(one, two)


def test_every_message_through_bytes_gives_the_same_seeded_release(agent, make_job, parties, tmp_path):
    study = make_study(kind="cvae")
    releases = []
    for k, carry in enumerate((lambda message: message, through_bytes)):
        job = make_job(study, parties(7), seed=7, folder=tmp_path / str(k), noise=8.0)
        releases.append(conduct(job, both(agent, study, seed=7), carry).releases)
    assert same(*releases)


def test_two_unseeded_runs_differ(agent, make_job, parties, tmp_path):
    study = make_study()
    one, two = (conduct(make_job(study, parties(None), folder=tmp_path / str(k)), both(agent, study)) for k in range(2))
    assert not same(one.releases, two.releases)


class Flaky:
    """An agent that drops its n-th answers to ``ask``."""

    def __init__(self, agent, *drops):
        self.agent, self.drops, self.asked = agent, drops, 0

    def handle(self, kind, call):
        if kind == "ask":
            self.asked += 1
            if self.asked - 1 in self.drops:
                return refusal("internal", "dropped for the test")
        return self.agent.handle(kind, call)


def test_a_failed_attempt_is_repeated_from_the_reserve_and_the_next_one_is_refused(agent, make_job, tmp_path):
    study = make_study(kind="cvae", privacy={"trust": "distributed", "epsilon": 9.0, "delta": 1e-3, "retries": 0.25})
    with Parties.start(tmp_path, None) as running:
        running.keep(party_folder(tmp_path / "one"))
        north, south = both(agent, study)
        job = make_job(study, running, noise=8.0)
        coordinator = conduct(job, [north, Flaky(south, 2)])
        assert coordinator.answered["cvae"] == 5
    with Parties.start(tmp_path, None) as running:
        running.keep(party_folder(tmp_path / "two"))
        north, south = both(agent, study)
        job = make_job(study, running, noise=8.0, folder=tmp_path / "again")
        with pytest.raises(BudgetRefused, match="used up, retries included"):
            conduct(job, [north, Flaky(south, 2, 4)])


def test_a_plan_that_is_used_up_says_the_same_however_often_the_run_is_resumed(agent, make_job):
    study = make_study(privacy={"trust": "local", "epsilon": 9.0, "delta": 1e-3}, secure="off")
    said = []
    for _ in range(3):
        north, south = both(agent, study)
        with pytest.raises(BudgetRefused, match="the plan's 1 queries of this form are used up") as fault:
            conduct(make_job(study), [north, Flaky(south, 0)])
        said.append(str(fault.value))
    assert len(set(said)) == 1
    assert json.loads((make_job(study).folder / "asked.json").read_text())["attempt"] == 0


class Gone(Flaky):
    """An agent that ends at its n-th answer to ``ask``."""

    def handle(self, kind, call):
        return refusal("unreachable", "gone") if self.asked > self.drops[0] else super().handle(kind, call)


def test_a_retry_without_a_quorum_ends_the_run_before_it_is_paid_for(agent, make_job):
    study = make_study(kind="cvae", **PLAIN)
    north, south = both(agent, study)
    job = make_job(study)
    with pytest.raises(RoleError, match=r"missing: south"):
        conduct(job, [north, Gone(south, 2)])
    asked = json.loads((job.folder / "asked.json").read_text())
    assert (asked["step"], asked["attempt"], sum(asked["asked"].values())) == (2, 0, 3)


def test_a_site_that_restarts_joins_again_at_the_retry(agent, make_job):
    study = make_study(kind="cvae", **PLAIN)
    north, south = both(agent, study)
    lives = [south, agent(study, "south")]

    def handle(kind, call):
        if kind == "ask" and call.header["query"]["step"] == 2 and len(lives) > 1:
            lives.pop(0)
        return lives[0].handle(kind, call)

    assert conduct(make_job(study), [north, handle]).answered["cvae"] == 5 and len(lives) == 1


def test_a_site_that_restarts_joins_again_although_the_others_suffice(agent, make_job):
    study = make_study(kind="cvae", quorum=1, **PLAIN)
    north, south = both(agent, study)
    lives, answered = [south, agent(study, "south")], []

    def handle(kind, call):
        if kind == "ask" and call.header["query"]["step"] == 2 and len(lives) > 1:
            lives.pop(0)
        answer = lives[0].handle(kind, call)
        if kind == "ask" and answer.refusal is None:
            answered.append(call.header["query"]["step"])
        return answer

    assert conduct(make_job(study), [north, handle]).answered["cvae"] == 5
    assert answered == [0, 1, 3, 4]


def test_a_site_that_is_there_and_never_answers_ends_the_run_by_name(agent, make_job):
    study = make_study(**PLAIN)
    north, south = both(agent, study)
    with pytest.raises(RoleError, match=r"query 0, attempt 4 failed: 1 sites answered, 2 needed; not south"):
        conduct(make_job(study), [north, Flaky(south, *range(100))])


def test_a_resumed_run_continues_with_the_interrupted_query_as_a_new_attempt(agent, make_job):
    study = make_study(kind="cvae", **PLAIN)
    seen = []

    def interrupt(method, progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    class Spy:
        def __init__(self, agent):
            self.agent = agent

        def handle(self, kind, call):
            if kind == "ask":
                seen.append((call.header["query"]["step"], call.header["query"]["attempt"]))
            return self.agent.handle(kind, call)

    with pytest.raises(KeyboardInterrupt):
        conduct(make_job(study, seed=1, on_step=interrupt), [Spy(a) for a in both(agent, study)])
    resumed = conduct(make_job(study, seed=1), [Spy(a) for a in both(agent, study)])
    assert [step for step, _ in seen[::2]] == [0, 1, 2, 3, 4] and resumed.answered["cvae"] == 5


def test_too_few_sites_end_the_run_with_a_clear_error(agent, make_job):
    study = make_study(**PLAIN)
    with pytest.raises(RoleError, match=r"missing: south"):
        conduct(make_job(study, timeout=1.0), [agent(study, "north")])


def test_a_site_that_refuses_to_join_ends_the_run_below_quorum(agent, make_job):
    study = make_study(**PLAIN)
    agents = [agent(study, "north"), agent(study, "south", admit=pinned("0" * 64))]
    with pytest.raises(RoleError, match=r"1 of 2 sites joined.*; not south \(other-study: .*\)"):
        conduct(make_job(study), agents)


def test_a_run_goes_on_without_a_site_above_quorum(agent, make_job):
    study = make_study(**PLAIN, quorum=1)
    arrays = conduct(make_job(study), [agent(study, "north"), Flaky(agent(study, "south"), 0)]).releases
    assert np.isfinite(arrays["marginals"]["tables"]).all()


def test_a_budget_at_a_site_is_a_budget_error_that_names_it(agent, make_job, parties):
    study = make_study()
    agents = [agent(study, "north"), agent(study, "south", budget=replace(agent_budget(), epsilon=1.0))]
    with pytest.raises(BudgetRefused, match=r"south: .*need epsilon 5, budget 1"):
        conduct(make_job(study, parties(None)), agents)


def agent_budget():
    from fedgenome.privacy.ledger import Budget

    return Budget(epsilon=100.0, delta=0.1)


class Spoils:
    """An agent whose answers to ``ask`` are changed on their way."""

    def __init__(self, agent, change):
        self.agent, self.change, self.left = agent, change, 1

    def handle(self, kind, call):
        answer = self.agent.handle(kind, call)
        if kind == "ask" and self.left:
            self.left -= 1
            return Call(header=answer.header, arrays=self.change(dict(answer.arrays)))
        return answer


def test_a_spoilt_part_fails_the_attempt_and_the_next_one_succeeds(agent, make_job, parties):
    study = make_study(kind="cvae", privacy={"trust": "distributed", "epsilon": 9.0, "delta": 1e-3, "retries": 1.0})

    def flip(arrays):
        part = arrays["part1"].copy()
        part[-1] ^= 1
        return arrays | {"part1": part}

    north, south = both(agent, study)
    job = make_job(study, parties(None), noise=9.0)
    assert conduct(job, [Spoils(north, flip), south]).answered["cvae"] == 5


def test_an_answer_without_parts_counts_as_none(agent, make_job):
    study = make_study(**PLAIN, quorum=1)
    north, south = both(agent, study)
    coordinator = conduct(make_job(study), [Spoils(north, lambda arrays: {}), south])
    assert coordinator.answered["marginals"] == 1 and coordinator.uploaded == coordinator.answered["marginals"] * 4 * 32


def test_a_relay_passes_a_refusal_and_nothing_else():
    client = site_app.make(lambda context: lambda kind, call: refusal("internal", "see the log"))
    grid = LocalGrid(client, 1)
    from fedgenome.federation.wire import from_records, to_records

    message = grid.create_message(to_records(Call(header={})), "query.hello", next(iter(grid.get_node_ids())), "")
    (reply,) = grid.send_and_receive([message])
    assert from_records(reply.content).header == {"refused": ["internal", "see the log"]}


@pytest.mark.ray
def test_flowers_ray_engine_gives_the_same_seeded_release_as_the_local_one(agent, make_job, parties, tmp_path):
    study = make_study(
        kind="cvae", methods=[{"kind": "cvae", "options": {"rounds": 2, "sampling": 0.5, "hidden": 4, "latent": 2}}]
    )
    releases = []
    for engine in ("local", "ray"):
        coordinator = Coordinator(make_job(study, parties(7), seed=7, folder=tmp_path / engine, noise=8.0))
        engines.run(engine, coordinator.conduct, both(agent, study, seed=7))
        releases.append(coordinator.releases)
    assert same(*releases)


class Says(Flaky):
    """An agent that answers calls of one kind with this header."""

    def __init__(self, agent, kind, header):
        super().__init__(agent)
        self.kind, self.header = kind, header

    def handle(self, kind, call):
        return Call(header=self.header) if kind == self.kind else super().handle(kind, call)


def test_a_node_that_is_no_site_of_the_roster_is_told_nothing_and_adds_nothing(agent, make_job):
    study, told = make_study(**PLAIN), []
    north, south = both(agent, study)

    def stranger(kind, call):
        told.append(kind)
        answer = south.handle(kind, call)
        return Call(header={"site": "mallory"}, arrays={name: array * 0 + 1 for name, array in answer.arrays.items()})

    alone = conduct(make_job(study), [north, south]).releases
    with_it = conduct(make_job(study, folder=make_job(study).folder / "two", run="run-2"), [north, south, stranger])
    assert told == ["hello"] and same(with_it.releases, alone)


def test_two_nodes_of_one_name_end_the_run_before_anything_is_asked(agent, make_job):
    study = make_study(**PLAIN)
    north, south = both(agent, study)
    with pytest.raises(RoleError, match="two nodes say that they are north"):
        conduct(make_job(study), [north, south, Says(south, "hello", {"site": "north"})])
    assert north._run is None


@pytest.mark.parametrize("header", [{}, {"site": ["north"]}, {"refused": 5}, {"refused": "x"}, {"refused": {"a": 1}}])
def test_a_greeting_that_names_no_site_counts_as_none(agent, make_job, header):
    study = make_study(**PLAIN, quorum=1)
    north, south = both(agent, study)
    assert conduct(make_job(study), [north, Says(south, "hello", header)]).answered["marginals"] == 1


def test_sites_that_answer_one_after_another_each_have_their_time(agent, make_job):
    study = make_study(**PLAIN)

    def slow(one):
        def handle(kind, call):
            time.sleep(0.3 if kind == "ask" else 0)
            return one.handle(kind, call)

        return handle

    job = make_job(study, timeout=0.25)
    assert conduct(job, [slow(one) for one in both(agent, study)]).answered["marginals"] == 1
    assert json.loads((job.folder / "asked.json").read_text())["attempt"] == 0
