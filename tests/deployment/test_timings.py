"""How long a federation in containers takes: a query, hence the quickstart's hundred rounds; and one query alone."""

import json
import time

import pytest

from experiments.harness import Target
from fedgenome.deployment import compose
from tests.deployment.project import docker

FIRST, LAST = 3, 13  # queries between which is timed; the ones before meet everybody for the first time
QUERIES = 102  # of the quickstart: tables of marginals; of the cVAE one of labels, then a hundred rounds
MOST_HOURS, MOST_MINUTES = 2, 10  # for the quickstart and for the one query; on two cores that nothing else uses


def ready(up, sites):
    """Start a federation, wait until it can run, and return the seconds that took."""
    began = time.monotonic()
    up.up()
    up.wait_healthy([name for name in compose.document(sites)["services"] if name not in ("consortium", "coordinator")])
    return round(time.monotonic() - began)


def reached(up, queries, running):
    """Wait until the run has answered that many queries; return how many it has, and when."""
    while True:
        told = up.run_in("superlink", "sh", "-c", "cat /jobs/*/progress.json").stdout
        if told and (done := sum(json.loads(told)["done"].values())) >= queries:
            return done, time.monotonic()
        assert running.poll() is None, running.communicate()[0]
        time.sleep(1)


@pytest.fixture(params=[2, 5])
def paced(request, project, experiment):
    """Hospitals; seconds until all are ready; and seconds of one query of the quickstart with them."""
    sites = request.param
    up = project(sites=sites, experiment=experiment(sites, rounds=100))
    started, runner = ready(up, sites), f"{up.name}-paced"
    running = up.begin("run", "--rm", "--no-deps", "-T", "--name", runner, "coordinator")
    (first, began), (last, ended) = reached(up, FIRST, running), reached(up, LAST, running)
    docker("kill", runner)
    running.communicate()
    up.down()
    return sites, started, (ended - began) / (last - first)


def test_a_hundred_rounds_end_within_hours(paced, measured):
    sites, started, seconds = paced
    name = f"hours for the quickstart's {QUERIES} queries over {sites} hospitals, by the time of {LAST - FIRST}"
    hours = Target(name=name, value=seconds * QUERIES / 3600, target=MOST_HOURS, sense="at most")
    measured(
        "timings",
        hours,
        what="the quickstart",
        hospitals=sites,
        start_seconds=started,
        seconds_a_query=round(seconds, 1),
    )
    assert hours.ok


def test_one_query_over_five_hospitals_ends_within_minutes(project, one_query, measured):
    up = project(sites=5, experiment=one_query(5))
    started, began = ready(up, 5), time.monotonic()
    done = up.conduct()
    assert done.returncode == 0, done.stdout + done.stderr
    minutes = (time.monotonic() - began) / 60
    up.down()
    name = "minutes for a run of one query over five hospitals, generation, audit and report included"
    whole = Target(name=name, value=minutes, target=MOST_MINUTES, sense="at most")
    measured(
        "timings", whole, what="one query", hospitals=5, start_seconds=started, one_query_run_minutes=round(minutes, 1)
    )
    assert whole.ok
