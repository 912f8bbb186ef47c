"""What is worn out, in a whole federation: full disks and an expired certificate, one after another, in one run.

Each is told by name, ends the run before anything is charged twice, and once it is mended the same run goes on. State
folders and the folder of jobs are small file systems in memory, which a further container keeps mounted and fills.
"""

import json
import re
import time
from pathlib import Path

import pytest

from experiments.harness import Target
from fedgenome.deployment import compose
from tests.deployment import pair as pairs
from tests.deployment import watching

SMALL = {"state-site-1": "/site", "state-party-0": "/party", "jobs": "/jobs"}
KEPT = SMALL | {"state-site-2": "/state"}
MIB = 24
SECONDS = 180  # within which the command ends with the reason; for a SuperLink it waits a minute
FULL = (  # the party first: once it was pinned it holds room for an answer of this size, and needs no more of the disk
    ("disk full at a party", "/party", r"disk-full: party 0, PIN: [^\n]*"),
    ("disk full at a site", "/site", r"not site-1 \((disk-full|journal-closed|ledger-closed): [^)]*\)"),
    ("disk full at the coordinator", "/jobs", r"expected room to write[^;]*; [^\n]*|jobs: expected[^\n]*"),
)
SERVING = [name for name in compose.document(2)["services"] if name not in ("consortium", "coordinator")]


def limited(document):
    """Give the volumes a size, and add the container that keeps them."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={MIB}m,uid=10001,gid=10001,mode=0700"}
    document["volumes"] |= {name: {"driver": "local", "driver_opts": dict(options)} for name in SMALL}
    keeper = {
        name: document["services"]["agent-1"][name] for name in ("image", "network_mode", "read_only", "cap_drop")
    }
    keeper |= {"entrypoint": ["sleep", "infinity"], "healthcheck": {"disable": True}}
    document["services"]["keeper"] = keeper | {"volumes": [f"{name}:{place}" for name, place in KEPT.items()]}


@pytest.fixture(scope="module")
def worn(project, one_query):
    """Two hospitals' federation on small disks, up and registered."""
    up = project(sites=2, experiment=one_query(2), change=limited)
    up.up("keeper")
    up.up()
    up.wait_healthy(SERVING, 1500)
    return up


def fill(project, place):
    """Take all that is left of a disk."""
    code = f"""
with open("{place}/ballast", "ab", buffering=0) as file:
    for size in (1 << 16, 1):
        try:
            while file.write(bytes(size)): pass
        except OSError: pass"""
    assert project.python("keeper", code).returncode == 0


def clear(project, place):
    assert project.run_in("keeper", "rm", f"{place}/ballast").returncode == 0


def ledgers(project):
    """Return what the hospitals' ledgers hold: (plans reserved, questions charged) of each."""
    files = [f"{KEPT[f'state-site-{one}']}/ledger.jsonl" for one in (1, 2)]  # an agent may be on its way up
    texts = [project.run_in("keeper", "cat", file).stdout.splitlines() for file in files]
    kinds = [[json.loads(line)["event"] for line in text] for text in texts]
    return [(one.count("reserve"), one.count("charge")) for one in kinds]


def struck(project, measured, case, pattern, *options):
    """Conduct, and expect an end that says what is wrong; no hospital is charged."""
    before, began = ledgers(project), time.monotonic()
    done = project.conduct(*options)
    seconds = time.monotonic() - began
    said = re.search(pattern, done.stdout + done.stderr)
    assert done.returncode not in (0, 3) and said, done.stdout + done.stderr
    promise = Target(name=f"{case}: seconds until the command says so", value=seconds, target=SECONDS, sense="at most")
    line = " ".join(said[0].split())
    measured(
        "misfits", promise, case=case, outcome="ended, nothing charged", seconds_to_detect=round(seconds, 1), said=line
    )
    assert [one[1] for one in ledgers(project)] == [one[1] for one in before]


def expire(project, monkeypatch):
    pairs.dated(Path(project.environment["TLS"]), monkeypatch, -100)
    began = time.time()
    project.restart("superlink")
    return project.wait_said("superlink", r"server.crt: it expired .*--renew", began)


def test_run_that_meets_full_disks_and_an_expired_certificate_completes_once_all_are_mended(
    worn, measured, monkeypatch
):
    for resumed, (case, place, said) in enumerate(FULL):
        fill(worn, place)
        struck(worn, measured, case, said, *["--resume"] * bool(resumed))
        clear(worn, place)
    expire(worn, monkeypatch)
    struck(worn, measured, "expired certificate", r"SuperLink at superlink:9092 [^\n]*", "--resume")
    pairs.Pair(project=worn, folder=worn.file.parent).renew()
    worn.wait_healthy(SERVING)
    with watching.Watch(worn, [f"link-{role}" for role in compose.roles_of(2)]) as watch:
        watch.ready()
    done = worn.conduct("--resume")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert ledgers(worn) == [(1, 1), (1, 1)]
    measured("misfits", case="the same run, all mended", outcome="completed, each site charged once", said="")
