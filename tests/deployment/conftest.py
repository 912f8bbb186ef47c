"""Compose projects that tests share. All here needs Docker and the images: `make test-deployment`."""

import itertools
import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from experiments import harness
from experiments.harness import Target
from fedgenome import __version__
from fedgenome.deployment import compose
from tests.deployment.project import Project, docker

IMAGES = ("agent", "relay", "party", "coordinator")
_NUMBER = itertools.count()


def pytest_addoption(parser):
    """``--record``: what tests measure replaces the committed results; ``--mounted``: try code without new images."""
    parser.addoption("--record", action="store_true", help="keep it in experiments/deployment/*.results.json")
    parser.addoption("--mounted", action="store_true", help="mount this checkout's library over the images' own")


def pytest_collection_modifyitems(items):
    """Nothing here is for an ordinary run."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.deployment)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def measured(request, repository):
    """Note a row of a table of results, with the targets it is held to; ``--record`` writes the tables at the end.

    ``table``: "faults", "intruders", "load" …, the name of the results file. ``targets``: of ``experiments.harness``.
    Asserting is the test's business. A table's rows and targets that were measured anew take the old ones' places.
    """
    rows, promised = defaultdict(list), defaultdict(list)

    def note(table, *targets, **row):
        rows[table].extend([row] if row else [])
        promised[table].extend(targets)

    yield note
    if request.config.getoption("--record"):
        for table in promised | rows:
            path = repository / "experiments" / "deployment" / f"{table}.results.json"
            path.parent.mkdir(exist_ok=True)
            old = json.loads(path.read_text()) if path.exists() else {"rows": [], "targets": []}
            targets = [Target(**{name: one[name] for name in one if name != "ok"}) for one in old["targets"]]
            result = harness.Result(
                rows=anew(old["rows"], rows[table], name_of),
                targets=anew(targets, promised[table], lambda one: one.name),
            )
            harness.write(path, TITLES[table], RECORDED, result)


TITLES = {
    "faults": "Hospitals in containers: roles that die and links that break, what becomes of a run, and how soon.",
    "intruders": "Hospitals in containers: what became of intruders, mutated messages and a search for markers.",
    "misfits": "Hospitals in containers: clocks, keys, certificates and disks that do not fit, and who says so.",
    "same": "Hospitals in containers against one process: how useful an unseeded run's data are.",
    "load": "Hospitals in containers: what roles take at rest, and how they grow over a hundred queries.",
    "forty": "Forty hospitals in containers on one machine.",
    "timings": "Hospitals in containers: how long a run takes.",
}
RECORDED = "make test-deployment RECORD=--record"


def name_of(row):
    """What a row is of, apart from what was found."""
    names = ("who", "where", "case", "phase", "role", "what", "hospitals")
    return tuple(row.get(name) for name in names)


def anew(old, new, of):
    """Return ``old`` with what ``new`` has of the same name in its place, and the rest of ``new`` at the end."""
    found = {of(one): one for one in new}
    return [found.pop(of(one), one) for one in old] + list(found.values())


@pytest.fixture(scope="session")
def image():
    """Name of an image by its role; all four must have been built."""
    missing = [name for name in IMAGES if not docker("images", "-q", f"fedgenome-{name}:{__version__}").strip()]
    if missing:
        pytest.fail(f"no image of {', '.join(missing)}: run make images first")
    return lambda name: f"fedgenome-{name}:{__version__}"


@pytest.fixture(scope="session")
def library(request, repository):
    """Volumes that every container gets besides: with ``--mounted`` this checkout's library."""
    if not request.config.getoption("--mounted"):
        return []
    return [f"{repository / 'fedgenome'}:/opt/fedgenome/lib/python3.11/site-packages/fedgenome:ro"]


@pytest.fixture(scope="session")
def relaying(library, repository):
    """Volumes that every relay gets besides: with ``--mounted`` this checkout's scripts."""
    return library and [
        f"{repository / 'sites' / 'relay.sh'}:/opt/fedgenome/bin/relay:ro",
        f"{repository / 'sites' / 'flower-superexec'}:/opt/fedgenome/quick/flower-superexec:ro",
    ]


@pytest.fixture(scope="session")
def project(image, library, relaying, repository, tmp_path_factory):
    """Factory of projects, each of a name of its own, taken down at the end whatever happens.

    ``sites``: hospitals. ``experiment``: the file, or None for the quickstart. ``change``: edits the document of
    docker-compose.yml in place.
    """
    from fedgenome.deployment.consortium import certificates

    made = []

    def make(sites=2, experiment=None, change=lambda document: None):
        name = f"fedgenome-test-{os.getpid()}-{next(_NUMBER)}"
        folder = tmp_path_factory.mktemp(name)
        certificates.make(folder / "tls", ["superlink", "localhost", "127.0.0.1"])
        (folder / "tls" / "server.key").chmod(0o644)  # read through a mount by the container's user
        change(document := compose.document(sites))
        apart((os.getpid() * 8 + len(made)) % 200 + 20, document)
        for service in document["services"].values():
            scripts = relaying if "-relay:" in service["image"] else []
            service["volumes"] = [*service.get("volumes", ()), *library, *scripts]
        (folder / "docker-compose.yml").write_text(yaml.safe_dump(document))
        environment = {"TLS": str(folder / "tls")} | (
            {} if experiment is None else {"EXPERIMENT_FILE": str(experiment)}
        )
        made.append(Project(name=name, root=repository, file=folder / "docker-compose.yml", environment=environment))
        return made[-1]

    yield make
    for one in made:
        one.down()


def free_block(start):
    """Return the second number of addresses 10.N.0.0 that no network of the engine has, searched from ``start``."""
    every = docker("network", "ls", "-q").split()
    told = docker("network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", *every, check=False)
    blocks = [20 + (start + n) % 200 for n in range(200)]
    return next(block for block in blocks if f"10.{block}." not in told)


def apart(block, document):
    """Give a project's networks addresses of its own: an engine's pools hold 31 networks for all its projects."""
    for number, one in enumerate(document["networks"].values()):
        one["ipam"] = {"config": [{"subnet": f"10.{block}.{number // 16}.{number % 16 * 16}/28"}]}


def sleeping(document):
    """Let every container of a compose document sleep in place of doing its work."""
    for service in document["services"].values():
        service |= {"entrypoint": ["sleep", "infinity"], "healthcheck": {"disable": True}}


@pytest.fixture(scope="session")
def idle(project):
    """Two hospitals' federation whose containers all sleep: walls, mounts and users without the roles."""
    asleep = project(sites=2, change=sleeping)
    asleep.up(*compose.document(2)["services"])
    return asleep


UNJUDGED = """
[audit]  # two in a hundred releases without a leak are withheld: what is shown here must not hang on that
auc = { most = 1.0, reason = "not what is shown here" }
hits = { most = 1.0, reason = "not what is shown here" }
require_controls = false
"""


@pytest.fixture(scope="session")
def one_query(repository, tmp_path_factory):
    """Factory of experiment files: one query of the quickstart's cells, texts changed, released."""
    text = (repository / "experiments" / "quickstart_one_query.toml").read_text()
    folder, number = tmp_path_factory.mktemp("one-query"), itertools.count()

    def make(sites, changes=()):
        made = text + UNJUDGED
        for old, new in {"sites = 5": f"sites = {sites}", **dict(changes)}.items():
            assert made.count(old) == 1, old
            made = made.replace(old, new)
        path = folder / f"{next(number)}.toml"
        path.write_text(made)
        return path

    return make


@pytest.fixture(scope="session")
def experiment(repository, tmp_path_factory):
    """Factory of experiment files: the quickstart's cells, dealt to ``sites`` hospitals, ``rounds`` of ``cvae``."""
    folder = tmp_path_factory.mktemp("experiments")
    quickstart = (repository / "experiments" / "quickstart.toml").read_text()

    def make(sites=2, seed=None, rounds=2):
        text = quickstart.replace("sites = 5", f"sites = {sites}").replace("rounds = 100", f"rounds = {rounds}")
        text = text.replace("site_cap = 400", "site_cap = 525")  # all that is dealt: two sites' shares differ widely
        if seed is not None:
            text = text.replace("# seed = 7", f"seed = {seed}")
        path = folder / f"{sites}-{seed}-{rounds}.toml"
        path.write_text(text)
        return path

    return make


@pytest.fixture(scope="session")
def federation(project, experiment):
    """Two hospitals' federation, up: keys approved, cohort dealt, study signed and approved, relays registered."""
    up = project(sites=2, experiment=experiment(2))
    up.up()
    up.wait_healthy([name for name in compose.document(2)["services"] if name not in ("consortium", "coordinator")])
    return up
