"""A relay in an enemy's hands: what code in it can open, and what it can make its agent answer."""

import re

import pytest

from fedgenome.deployment.hospital import site
from fedgenome.federation.wire import Call
from fedgenome.query import Mechanism, Query, Question, choose_scale
from fedgenome.study import Plan
from tests.deployment.driving import Drive, ask
from tests.deployment.intruders import ROLES, inside, noted, relay_of

PAID = Mechanism(kind="gaussian", level=50.0, sampling=1.0, scope="marginals")
PLAN = Plan(mechanisms=(PAID,))
# Whatever a ClientApp can be made to do, as its user: open the usual places, then every file there is.
SNOOP = """
import json, os, pathlib, re
secret = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\\s+[A-Za-z0-9+/=]{40}")
told = {"places": {}, "files": [], "writable": []}
for place in ("/data", "/state", "/shards", "/desk", "/jobs", "/runs", "/outbox", "/inbox", "/run/secrets"):
    try:
        told["places"][place] = sorted(os.listdir(place))
    except OSError as fault:
        told["places"][place] = []
for wanted in ("/data/cohort.h5ad", "/state/identity.pem", "/state/ledger.jsonl", "/proc/1/root/data/cohort.h5ad",
               "/var/run/docker.sock", "/link/../data/cohort.h5ad"):
    told["files"] += [wanted] if os.path.exists(wanted) else []
for top, folders, names in os.walk("/"):
    folders[:] = [one for one in folders if os.path.join(top, one) not in ("/proc", "/sys", "/dev")]
    for path in (pathlib.Path(top, name) for name in names):
        if path.is_file() and os.access(path, os.R_OK) and "SelfTest" not in top:
            head = path.open("rb").read(65536)
            if secret.search(head) or head.startswith(b"\\x89HDF") or path.name in ("identity.pem", "ledger.jsonl"):
                told["files"].append(str(path))
    if os.access(top, os.W_OK) and not top.startswith("/tmp"):
        told["writable"].append(top)
print(json.dumps(told))"""


@pytest.mark.parametrize("role", ROLES)
def test_code_in_a_relay_finds_its_node_key_and_nothing_of_its_role(federation, measured, role):
    told = inside(federation, relay_of(role)).run(SNOOP)
    outcome = "its own node key" if told["files"] == ["/link/node.key"] else "more than its node key"
    noted(measured, f"code in the relay of {role}", "its whole file system", 1, outcome != "its own node key", outcome)
    assert told["files"] == ["/link/node.key"] and not any(told["places"].values()) and told["writable"] == []


def test_the_same_code_finds_data_and_keys_where_they_are(federation):
    told = inside(federation, "agent-1").run(SNOOP)
    assert {"/data/cohort.h5ad", "/state/identity.pem", f"/state/{site.LEDGER}"} <= set(told["files"])


@pytest.fixture(scope="module")
def joined(federation):
    """A run of the approved Study, joined by parties and site-1 as any coordinator may; nothing is asked in it."""
    drive = Drive.of(federation, PLAN)
    parties = [f"party-{index}" for index in range(3)]
    assert [drive.join(party).refusal for party in parties] == [None] * 3
    keys = [drive.pin(party) for party in parties]
    assert drive.join("site-1", keys=keys).refusal is None
    yield drive
    drive.close("site-1", *parties)


def charges(project):
    """Return how many charges site-1's ledger holds."""
    return len(re.findall('"charge"', project.run_in("agent-1", "cat", f"/state/{site.LEDGER}").stdout))


def query_of(drive, **changes):
    """Return the header of a question that the plan would allow but for ``changes`` of it."""
    asked = {"length": 10, "reply_length": 10, "bound": 1.0, "mechanism": PAID} | changes
    question = Question(payload={}, **asked)
    terms = drive.study.terms(drive.plan)
    when = {"study": drive.study.digest, "run": drive.run, "method": "marginals", "step": 0, "attempt": 0}
    return Query(question=question, terms=terms, scale=choose_scale(question, terms), **when).header()


def changed(**fields):
    return {name: getattr(PAID, name) for name in ("kind", "level", "sampling", "scope")} | fields


QUESTIONS = {
    "less noise": (lambda d: query_of(d, mechanism=Mechanism(**changed(level=0.01))), "outside-plan"),
    "no noise": (lambda d: query_of(d, mechanism=None), "outside-plan"),
    "another scope": (lambda d: query_of(d, mechanism=Mechanism(**changed(scope="cvae"))), "outside-plan"),
    "a sample of a few": (lambda d: query_of(d, mechanism=Mechanism(**changed(sampling=0.01))), "outside-plan"),
    "noise at home": (lambda d: query_of(d, mechanism=Mechanism(**changed(where="home"))), "other-trust"),
    "a whole site": (lambda d: query_of(d, unit="site"), "other-trust"),
    "another scale": (lambda d: query_of(d) | {"scale": 2.0**40}, "wrong-scale"),
    "another method": (lambda d: query_of(d) | {"method": "../../state/identity"}, "unknown-method"),
    "another run": (lambda d: query_of(d) | {"run": "../../state"}, "other-study"),
    "another study": (lambda d: query_of(d) | {"study": "../../state/identity.pem"}, "not-approved"),
    "other terms": (lambda d: query_of(d) | {"terms": "0" * 64}, "invalid"),
    "a file": (lambda d: query_of(d) | {"open": "/data/cohort.h5ad"}, "invalid"),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_an_agent_answers_no_question_that_its_plan_does_not_allow(federation, joined, measured, what):
    build, code = QUESTIONS[what]
    before = charges(federation)
    answer = ask(federation, "site-1", "ask", Call(header={"query": build(joined)}))
    noted(measured, f"a coordinator that asks for {what}", "agent of site-1", 1, answer.refusal is None, str(code))
    assert answer.refusal[0] == code and not answer.arrays
    assert charges(federation) == before


@pytest.mark.parametrize("kind", ["read", "frames", "ledger", "../../data/cohort.h5ad", "shutdown"])
def test_an_agent_knows_four_kinds_of_call_and_no_more(federation, measured, kind):
    answer = ask(federation, "site-1", kind, Call(header={"path": "/data/cohort.h5ad"}))
    noted(measured, f"a call of kind {kind}", "agent of site-1", 1, answer.refusal is None)
    assert answer.refusal[0] == "unknown-kind" and not answer.arrays


LOOSER = {
    "no secure sums": {"secure": "off"},
    "a quorum of one": {"quorum": 1},
    "parties of its own": {"parties": ["1" * 64, "2" * 64, "3" * 64]},
    "no privacy": {"privacy": {"trust": "none", "epsilon": None, "delta": None}},
    "another name": {"name": "other"},
}


@pytest.mark.parametrize("what", LOOSER)
def test_an_agent_joins_no_study_but_the_approved_one(federation, joined, measured, what):
    told = joined.header(keys=[])
    answer = ask(federation, "site-1", "join", Call(header=told | {"study": told["study"] | LOOSER[what]}))
    noted(measured, f"a coordinator with {what}", "agent of site-1", 1, answer.refusal is None)
    assert answer.refusal[0] in ("not-approved", "malformed")
