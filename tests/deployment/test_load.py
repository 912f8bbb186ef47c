"""Load: forty hospitals at once, and a hundred queries in a row that leave nothing behind."""

import concurrent.futures
import functools
import json
import re
import time

import pytest

from experiments.harness import Target
from fedgenome.deployment import compose
from tests.deployment.project import docker

HOSPITALS = 40
FIRST, LAST = 10, 100  # queries after which memory and handles are counted
# What a process may grow by over those 90 queries. The tightest container, a relay's, has 600 MiB, and idle it uses
# 190: at .4 MiB a query a thousand queries fit in the rest. Of handles a process has 1,024 by default: at one for
# every four queries they last over four thousand. Below that lies what comes and goes: connections, allocators' pools.
MOST_MIB, MOST_HANDLES = 36, 22
# Processes that last as long as a run, and must be among the counted.
LASTING = [
    ("agent-1", "fedgenome site serve"),
    ("relay-1", "flower-supernode"),
    ("relay-1", "flower-superexec"),
    ("party-0", "party_process"),
    ("dealer", "fedgenome dealer serve"),
    ("superlink", "flower-superlink"),
    ("superlink", "flwr-serverapp"),
]
COUNT = """
import json, os, pathlib
found = {}
for place in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        status = (place / "status").read_text()
        try:
            handles = len(os.listdir(place / "fd"))
        except PermissionError:  # Flower hides its SuperExec's: the room for them is known, in powers of two
            handles = int(status.split("FDSize:")[1].split()[0])
        command = (place / "cmdline").read_bytes().replace(bytes(1), b" ").decode()
    except OSError:
        continue
    if int(place.name) != os.getpid() and "VmRSS" in status:
        found[place.name] = [command[:120], int(status.split("VmRSS:")[1].split()[0]) / 1024, handles]
print(json.dumps(found))"""


def counted(project, service):
    """Return (command, MiB in memory, open handles) of every process of a service, by its number."""
    done = project.python(service, COUNT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answered(project):
    """Return how many queries the one run has answered; 0 before it begins."""
    told = project.run_in("superlink", "sh", "-c", "cat /jobs/*/progress.json").stdout
    return sum(json.loads(told)["done"].values()) if told else 0


def waited(project, queries, running):
    """Wait until that many queries are answered, and return how many are."""
    while (now := answered(project)) < queries:
        assert not running.done(), running.result().stdout + running.result().stderr
        time.sleep(5)
    return now


def memory(project):
    """Return MiB in memory of every container of a project, by service."""
    lines = docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").splitlines()
    units = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}
    found = {}
    for name, used in (line.split()[:2] for line in lines if line.startswith(project.name)):
        found[name.removeprefix(project.name)[1:-2]] = float(used[:-3]) * units[used[-3:]]
    return found


def idle(note, project):
    """Note the memory of every kind of role before a run; return that of all."""
    found = memory(project)
    for kind in ("agent-1", "relay-1", "party-0", "dealer", "superlink"):
        note(role=kind.removesuffix("-1").removesuffix("-0"), idle_mib=round(found[kind]))
    return sum(found.values())


@pytest.fixture(scope="module")
def grown(project, experiment, measured):
    """Processes that lived through the queries from FIRST to LAST, as (service, MiB more, handles more, command)."""
    up = project(sites=2, experiment=experiment(2, rounds=LAST + 10))  # it goes on while all are counted
    up.up()
    services = [name for name in compose.document(2)["services"] if name not in ("consortium", "coordinator")]
    up.wait_healthy(services)
    idle(functools.partial(measured, "load"), up)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(up.conduct, seconds=6000)
        first, began = waited(up, FIRST, running), time.monotonic()
        before = {one: counted(up, one) for one in services}
        queries = waited(up, LAST, running) - first
        measured("load", what="seconds a query", seconds=round((time.monotonic() - began) / queries, 1))
        after = {one: counted(up, one) for one in services}
        ended = running.result()
        assert ended.returncode == 0, ended.stdout + ended.stderr
    up.down()
    both = [(one, before[one][pid], now) for one in services for pid, now in after[one].items() if pid in before[one]]
    return [(one, now[1] - then[1], now[2] - then[2], now[0]) for one, then, now in both]


def bounds(mib, handles):
    """Return what growth is held to."""
    return (
        Target(name="MiB by which a process grows from query 10 to 100", value=mib, target=MOST_MIB, sense="at most"),
        Target(name="handles that it opens meanwhile", value=handles, target=MOST_HANDLES, sense="at most"),
    )


@pytest.mark.timeout(7200)
def test_a_hundred_queries_leave_no_memory_and_no_handles_behind(grown, measured):
    lived = " ".join(f"{service}: {command}" for service, *_, command in grown)
    assert all(re.search(f"{service}: [^:]*{command}", lived) for service, command in LASTING), lived
    mib, handles = (max(one[column] for one in grown) for column in (1, 2))
    for service in sorted({service for service, *_ in grown}):
        most = [max(one[column] for one in grown if one[0] == service) for column in (1, 2)]
        measured("load", role=service, more_mib=round(most[0], 1), more_handles=most[1])
    measured("load", *bounds(mib, handles))
    assert mib <= MOST_MIB and handles <= MOST_HANDLES, sorted(grown, key=lambda one: -one[1])[:5]


@pytest.fixture(scope="module")
def forty(project, one_query, measured):
    """Forty hospitals' federation after its one query, started ten by ten; and how the run ended."""
    up = project(sites=HOSPITALS, experiment=one_query(HOSPITALS), change=rarely_checked)
    services = [name for name in compose.document(HOSPITALS)["services"] if name != "coordinator"]
    began = time.monotonic()
    groups = {name: int(name.split("-")[1]) // 10 for name in services if name.split("-")[-1] in map(str, range(3, 41))}
    for group in range(-1, 5):
        up.up(*(name for name in services if groups.get(name, -1) == group))
    up.wait_healthy([name for name in services if name != "consortium"], seconds=1800)
    total = idle(functools.partial(measured, "forty"), up)
    ready = time.monotonic()
    done = up.conduct(seconds=3600)
    told = {
        "hospitals": HOSPITALS,
        "start_seconds": round(ready - began),
        "run_seconds": round(time.monotonic() - ready),
    }
    measured("forty", **told, idle_gib=total / 1024)
    return up, done


def rarely_checked(document):
    """Ask a hundred containers how they are every two minutes, not every ten seconds."""
    for service in document["services"].values():
        if check := service.get("healthcheck"):
            check["interval"] = "120s"


@pytest.mark.timeout(7200)
def test_forty_hospitals_answer_and_the_run_ends_with_a_release(forty, measured):
    up, done = forty
    assert done.returncode == 0, done.stdout + done.stderr
    journals = (up.run_in(f"agent-{n}", "cat", "/state/journal.jsonl").stdout for n in range(1, HOSPITALS + 1))
    answers = sum('"event": "ask"' in one or '"event":"ask"' in one for one in journals)
    measured("forty", Target(name="hospitals that answered", value=answers, target=HOSPITALS, sense="at least"))
    assert answers == HOSPITALS
