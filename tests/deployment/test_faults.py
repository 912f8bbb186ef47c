"""Roles that die and links that break: what becomes of a run in containers, and how soon who says so.

Left out, because nothing differs: a relay is stateless, so that its phases are those of its role's silence; the dealer
has no part in sums; a party, an agent and a relay do the same work for every query, so that the first stands for all.
"""

import re
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
PULLED_SECONDS = 8.0  # a relay asks the SuperLink for messages every three
COMMAND_SECONDS = 180.0  # the command has waited for a SuperLink for a minute before it ends


@pytest.fixture(scope="module")
def up(project, one_query):
    """Three hospitals of which two suffice, three queries and as many in reserve, a budget for many runs."""
    changes = {
        "[privacy]": "quorum = 2\n\n[privacy]",
        "[release]": '[[methods]]\nkind = "linear"\noptions = { rounds = 1 }\n\n[release]',
    }
    made = project(sites=3, experiment=one_query(3, changes), change=for_many_runs)
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
        states = up.states()
        for service in ("superlink", "party-0", "party-1", "party-2"):
            if states[service]["Running"]:
                up.kill(service)


@pytest.fixture
def noted(measured):
    """Note a case; the seconds until somebody said what was struck are held to what the page promises."""

    def note(case, phase, outcome, seconds, most):
        target = Target(name=f"{case}, {phase}: seconds to detect", value=seconds, target=most, sense="at most")
        measured("faults", target, case=case, phase=phase, outcome=outcome, seconds_to_detect=round(seconds, 1))

    return note


def test_agent_killed_with_its_answer_written_joins_again_and_is_waited_for_if_needed(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(f"{ASKED} and answered(1)"), time.monotonic()
        up.kill("agent-1")
        seconds = watch.warned("site-1 refuses") - struck
        up.kill("agent-3")  # without it the two others are the quorum
        up.start("agent-1")
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run, lost=["site-1", "site-3"]) == []
    assert "linear" in {method for method, _, _ in kept.answers(volumes, run, "site-1")}
    noted("agent killed, started again", "its answer written, not sent", "goes on; joins again", seconds, ROLE_SECONDS)


def test_agent_and_dealer_dead_before_the_run_are_not_waited_for(up, watch, noted, tmp_path):
    up.kill("agent-3")
    up.kill("dealer")
    with watch.conducting() as command:
        run, begun = watch.until(SUBMITTED), time.monotonic()
        seconds = watch.warned("site-3 refuses") - begun
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    assert kept.answers(volumes, run, "site-3") == {}
    noted("agent dead", "before the run", "goes on without it", seconds, ROLE_SECONDS)
    noted("dealer dead", "before the run", "not noticed: nothing selects", 0.0, 0.0)


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
    assert ended.code == 4 and re.search(r"missing: party-2\b.*; when it works again: .* --resume", ended.line)
    up.start("party-2")
    with watch.conducting("--resume") as command:
        assert command.ended().code == 0
    assert kept.broken(watch.copy(tmp_path), run) == []
    noted("party dead", "between two queries", "exit 4; --resume finishes", seconds, ROLE_SECONDS)


def test_hospital_that_stops_for_long_is_left_out_of_a_sum_and_costs_no_attempt(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(ASKED), time.monotonic()
        up.pause("agent-2")
        seconds = watch.warned("site-2 refuses") - struck
        up.resume("agent-2")
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    assert {attempt for _, _, attempt in kept.answers(volumes, run, "party-0")} == {0}
    noted("agent stopped for over 30 s", "a query is open", "goes on without the site", seconds, QUIET_SECONDS)


def test_party_that_starts_while_it_is_awaited_and_an_agent_that_stops_for_a_moment_are_no_fault(
    up, watch, noted, tmp_path
):
    up.kill("party-0")
    with watch.conducting() as command:
        run, begun = watch.until(SUBMITTED), time.monotonic()
        seconds = watch.warned("party-0 refuses") - begun
        up.start("party-0")
        watch.until(ASKED)
        up.pause("agent-2")
        watch.until("answered(1) or answered(3)")
        up.resume("agent-2")
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    assert {attempt for _, _, attempt in kept.answers(volumes, run, "party-1")} == {0}
    assert kept.answers(volumes, run, "site-2").keys() == kept.answers(volumes, run, "site-1").keys()
    noted("party dead, started again", "roles join", "awaited for 90 s", seconds, ROLE_SECONDS)
    noted("agent stopped for less than 30 s", "a query is open", "not noticed", 0.0, 0.0)


def killed_with_a_message(up, relay, role):
    """Kill a relay while it holds a message that its role, frozen for a moment, cannot answer; start both again."""
    up.pause(role)
    time.sleep(PULLED_SECONDS)
    struck = time.monotonic()
    up.kill(relay)
    up.start(relay)
    up.resume(role)
    return struck


def test_killed_relay_of_a_site_costs_no_attempt_and_that_of_a_party_at_most_one(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run = watch.until(ASKED)
        struck = killed_with_a_message(up, "relay-2", "agent-2")
        of_site = watch.warned("site-2 gives no answer") - struck
        watch.until("answered(1) > 1 and answered(3) > 1")
        struck = killed_with_a_message(up, "relay-party-2", "party-2")
        of_party = watch.warned("party-2 gives no answer") - struck
        ended = command.ended()
    volumes = watch.copy(tmp_path)
    assert ended.code == 0 and kept.broken(volumes, run) == []
    retried = {method for method, _, attempt in kept.answers(volumes, run, "party-0") if attempt}
    assert retried <= {"linear"}
    case = "relay of a {} killed, started again"
    noted(case.format("hospital"), "a query is open", "goes on without the site", of_site, RELAY_SECONDS)
    outcome = "goes on with a retry" if retried else "asked again; goes on"
    noted(case.format("party"), "a sum is open", outcome, of_party, RELAY_SECONDS)


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


def test_command_killed_twice_is_resumed_twice_without_another_attempt_or_anybody_s_help(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(ASKED), time.monotonic()
        watch.kill_command()
        open_ = command.ended().at - struck
    with watch.conducting("--resume") as command:
        struck = watch.until(FINISHED) and time.monotonic()
        watch.kill_command()
        after = command.ended().at - struck
    for service in ("superlink", "agent-1", "relay-1", "party-0", "relay-party-0", "dealer"):
        up.kill(service)
    with watch.conducting("--resume") as command:
        assert command.ended().code == 0
    volumes = watch.copy(tmp_path)
    assert kept.broken(volumes, run) == []
    assert {attempt for _, _, attempt in kept.answers(volumes, run, "party-0")} == {0}
    noted("coordinator's command killed", "a query is open", "--resume finishes", open_, ROLE_SECONDS)
    noted("coordinator's command killed", "after the last query", "--resume finishes", after, ROLE_SECONDS)
    noted("all roles killed", "after the last query", "not noticed", 0.0, 0.0)


def test_hospital_whose_network_is_cut_is_left_out_and_back_by_itself(up, watch, noted, tmp_path):
    with watch.conducting() as command:
        run, struck = watch.until(ASKED), time.monotonic()
        up.cut("relay-3", "relay-site-3")
        seconds = watch.warned("site-3 gives no answer") - struck
        ended = command.ended()
    up.mend("relay-3", "relay-site-3")
    assert ended.code == 0 and kept.broken(watch.copy(tmp_path), run) == []
    watch.ready()
    noted("network of a hospital cut", "a query is open", "goes on without the site", seconds, RELAY_SECONDS)
