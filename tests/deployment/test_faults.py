"""Roles that die and links that break: what becomes of a run in containers, and how soon who says so.

Left out, because nothing differs: a relay is stateless, so that its phases are those of its role's silence; the dealer
has no part in sums; a party, an agent and a relay do the same work for every query, so that the first stands for all.
"""

import time

import pytest

from experiments.harness import Target
from tests.deployment import kept
from tests.deployment.watching import ASKED, FINISHED, ONE_DONE, SUBMITTED, Watch

ROLES = (*kept.SITES, *kept.PARTIES, "dealer")
VOLUMES = (*(f"state-{role}" for role in ROLES), *(f"link-{role}" for role in ROLES), "jobs", "runs")
RELAY_SECONDS = 75.0  # a SuperLink takes a relay for alive for up to a minute after its last sign of life
ROLE_SECONDS = 20.0  # its relay says at once that a role is gone
QUIET_SECONDS = 50.0  # one that is frozen is given 30 seconds
COMMAND_SECONDS = 180.0  # the command has waited for a SuperLink for a minute before it ends


@pytest.fixture(scope="module")
def up(project, repository, tmp_path_factory):
    """Three hospitals of which two suffice, three queries and as many in reserve, a budget for many runs."""
    text = (repository / "experiments" / "quickstart_one_query.toml").read_text()
    changes = {
        "sites = 5": "sites = 3",
        "[privacy]": "quorum = 2\n\n[privacy]",
        "[release]": '[[methods]]\nkind = "linear"\noptions = { rounds = 1 }\n\n[release]',
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path_factory.mktemp("faults") / "faults.toml"
    path.write_text(text)
    made = project(sites=3, experiment=path, change=for_many_runs)
    made.up()
    return made


def for_many_runs(document):
    """Without health checks, which cost a shared machine more than a run does; with a budget for all cases."""
    for service in document["services"].values():
        service["healthcheck"] = {"disable": True}
        service["environment"] |= {"DEMO_RUNS": "100"}


@pytest.fixture(scope="module")
def watched(up):
    with Watch(up, VOLUMES) as watch:
        yield watch


@pytest.fixture
def watch(up, watched):
    """The watch, with every role up; what a case left unfinished ends here, or parties would be busy with it."""
    watched.ready()
    yield watched
    if watched.unfinished():
        for service in ("superlink", "party-0", "party-1", "party-2"):
            up.kill(service)


@pytest.fixture
def noted(measured):
    """Note a case; the seconds until somebody said what was struck are held to what the page promises."""

    def note(case, phase, outcome, seconds, most):
        target = Target(name=f"{case}, {phase}: seconds to detect", value=seconds, target=most, sense="at most")
        measured("faults", target, case=case, phase=phase, outcome=outcome, seconds_to_detect=round(seconds, 1))

    return note


def test_agent_killed_with_its_answer_written_is_left_out_and_joins_again(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(f"{ASKED} and answered(1)"), time.monotonic()
        up.kill("agent-1")
        up.start("agent-1")
        seconds = watch.warned("site-1 refuses") - struck
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run, lost=["site-1"]) == []
    assert ("linear", 1, 0) in kept.answers(volumes, run, "site-1")
    noted("agent killed, started again", "its answer written, not sent", "goes on; joins again", seconds, ROLE_SECONDS)


def test_agent_and_dealer_dead_before_the_run_are_not_waited_for_and_the_agent_joins_late(up, watch, noted, tmp_path):
    up.kill("agent-3")
    up.kill("dealer")
    with watch.conducting() as command:
        run, begun = watch.until(SUBMITTED), time.monotonic()
        seconds = watch.warned("site-3 refuses") - begun
        watch.until(ASKED)
        up.start("agent-3")
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    assert ("marginals", 0, 0) not in kept.answers(volumes, run, "site-3")
    noted("agent dead", "before the run", "goes on without it", seconds, ROLE_SECONDS)


def test_party_killed_with_a_query_open_costs_an_attempt_of_the_reserve(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(f"{ASKED} and answered(1) and answered(2)"), time.monotonic()
        up.kill("party-1")
        up.start("party-1")
        seconds = watch.warned("party 1") - struck
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    assert ("marginals", 0, 1) in kept.answers(volumes, run, "party-0")
    noted("party killed, started again", "a query is open", "goes on with a retry", seconds, ROLE_SECONDS)


def test_party_dead_between_two_queries_ends_the_run_and_resume_finishes_it(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(ONE_DONE), time.monotonic()
        up.kill("party-2")
        seconds = watch.warned("party 2") - struck
        ended = command.ended()
    assert ended.code == 4 and "missing: party-2; when it works again" in ended.line
    up.start("party-2")
    with watch.conducting("--resume") as command:
        assert command.ended().code == 0
    assert kept.broken(watch.copy(tmp_path), run) == []
    noted("party dead", "between two queries", "exit 4; --resume finishes", seconds, ROLE_SECONDS)


def test_party_that_starts_while_it_is_awaited_is_no_fault(up, watch, noted, tmp_path):
    up.kill("party-0")
    with watch.conducting() as command:
        run, begun = watch.until(SUBMITTED), time.monotonic()
        seconds = watch.warned("party-0 refuses") - begun
        up.start("party-0")
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    assert ("marginals", 0, 1) not in kept.answers(volumes, run, "party-1")
    noted("party dead, started again", "roles join", "awaited for 90 s", seconds, ROLE_SECONDS)


@pytest.mark.parametrize(("relay", "name"), [("relay-2", "site-2"), ("relay-party-2", "party-2")])
def test_relay_killed_with_a_query_open_is_missed_within_a_minute(up, watch, noted, tmp_path, relay, name):
    with watch.conducting() as command:
        run, struck = watch.until(ASKED), time.monotonic()
        up.kill(relay)
        up.start(relay)
        seconds = watch.warned(f"{name} gives no answer") - struck
        ended = command.ended()
    assert ended.code == 0 and kept.broken(watch.copy(tmp_path), run) == []
    outcome = "goes on without the site" if relay == "relay-2" else "goes on with a retry"
    noted(f"relay of {name} killed, started again", "a query is open", outcome, seconds, RELAY_SECONDS)


def test_superlink_killed_in_mid_run_ends_it_and_resume_finishes_it(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(f"{ASKED} and answered(1)"), time.monotonic()
        up.kill("superlink")
        up.start("superlink")
        ended = command.ended()
    assert ended.code == 4 and "SuperLink" in ended.line and "--resume" in ended.line
    watch.ready()
    with watch.conducting("--resume") as command:
        assert command.ended().code == 0
    assert kept.broken(watch.copy(tmp_path), run) == []
    outcome = "exit 4; --resume finishes"
    noted("SuperLink killed, started again", "a query is open", outcome, ended.at - struck, COMMAND_SECONDS)


def test_superlink_that_is_away_ends_the_run_before_anything_is_spent(up, watch, noted, tmp_path):
    up.kill("superlink")
    begun = time.monotonic()
    with watch.conducting() as command:
        ended = command.ended()
    assert ended.code == 4 and "SuperLink" in ended.line and "--resume" in ended.line
    (run,) = watch.fresh()
    assert all(kept.answers(watch.copy(tmp_path), run, site) == {} for site in kept.SITES)
    noted("SuperLink dead", "before the run", "exit 4; nothing spent", ended.at - begun, COMMAND_SECONDS)


def test_command_killed_in_mid_run_is_resumed_without_another_attempt(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(ASKED), time.monotonic()
        watch.kill_command()
        seconds = command.ended().at - struck
    with watch.conducting("--resume") as command:
        assert command.ended().code == 0
    volumes = watch.copy(tmp_path)
    assert kept.broken(volumes, run) == []
    assert {attempt for _, _, attempt in kept.answers(volumes, run, "party-0")} == {0}
    noted("coordinator's command killed", "a query is open", "--resume finishes", seconds, ROLE_SECONDS)


def test_command_killed_after_the_last_query_asks_nobody_again(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(FINISHED), time.monotonic()
        watch.kill_command()
        seconds = command.ended().at - struck
    asked = {site: kept.answers(watch.copy(tmp_path / "before"), run, site) for site in kept.SITES}
    with watch.conducting("--resume") as command:
        assert command.ended().code == 0
    volumes = watch.copy(tmp_path / "after")
    assert kept.broken(volumes, run) == []
    assert asked == {site: kept.answers(volumes, run, site) for site in kept.SITES}
    noted("coordinator's command killed", "after the last query", "--resume finishes", seconds, ROLE_SECONDS)


def test_after_the_last_query_nobody_but_the_command_is_needed(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run = watch.until(FINISHED)
        for service in ("superlink", "agent-1", "relay-1", "party-0", "relay-party-0", "dealer"):
            up.kill(service)
        ended = command.ended()
    assert ended.code == 0 and kept.broken(watch.copy(tmp_path), run) == []
    noted("all roles killed", "after the last query", "not noticed", 0.0, 0.0)


@pytest.mark.parametrize("for_ever", [True, False], ids=["for the rest of the run", "for a while"])
def test_hospital_whose_network_is_cut_is_left_out_while_it_is(up, watch, noted, tmp_path, for_ever):
    with watch.conducting() as command:
        run, struck = watch.until(ASKED), time.monotonic()
        up.cut("relay-3", "relay-site-3")
        seconds = watch.warned("site-3 gives no answer") - struck
        if not for_ever:
            up.mend("relay-3", "relay-site-3")
        ended = command.ended()
    if for_ever:
        up.mend("relay-3", "relay-site-3")
    assert ended.code == 0 and kept.broken(watch.copy(tmp_path), run) == []
    phase = "for the rest of the run" if for_ever else "for a while"
    noted("network of a hospital cut", phase, "goes on without the site", seconds, RELAY_SECONDS)


def test_hospital_that_stops_for_long_is_left_out_and_comes_back(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(ASKED), time.monotonic()
        up.pause("agent-2")
        seconds = watch.warned("site-2 refuses") - struck
        up.resume("agent-2")
        ended = command.ended()
    assert ended.code == 0 and kept.broken(watch.copy(tmp_path), run) == []
    noted("agent stopped for over 30 s", "a query is open", "goes on without the site", seconds, QUIET_SECONDS)


def test_hospital_that_stops_for_a_moment_is_in_the_sum(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run = watch.until(ASKED)
        up.pause("agent-2")
        watch.until("answered(1) and answered(3)")
        up.resume("agent-2")
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    assert ("marginals", 0, 0) in kept.answers(volumes, run, "site-2")
    noted("agent stopped for less than 30 s", "a query is open", "not noticed", 0.0, 0.0)
