"""A study of data that only hospitals hold: made of public facts, and brought to an answer by real agents."""

import contextlib
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from fedgenome import experiment
from fedgenome.cli.main import app
from fedgenome.deployment.consortium import nodes, studies
from fedgenome.deployment.consortium.nodes import Node
from fedgenome.deployment.coordinator.training import Deployment, DeploymentConfig
from fedgenome.deployment.hospital import site
from fedgenome.errors import SpecError
from fedgenome.federation import agents, site_app
from fedgenome.federation.coordinator import Coordinator, Job
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.remote import RemoteParties
from fedgenome.federation.wire import Call
from fedgenome.secure.generators import ROLES
from fedgenome.secure.roster import RosterFile
from fedgenome.streams import Root
from tests.deployment_roles.consortium.test_studies import EXPERIMENT
from tests.deployment_roles.deployed import InProcessPost
from tests.deployment_roles.hospitals import KEY, SIGNER, rules, settle_in
from tests.federation.small import PARTY_IDS, SITE_IDS, make_shard
from tests.federation.test_remote import desks_of

FACTS = """
name = "away"
[schema]
genes = "{genes}"
labels = ["x", "y"]
high = 4.0
unit = "donor"
[caps]
site_cap = 40
donors_bound = 60
[privacy]
trust = "distributed"
epsilon = 5.0
delta = 1e-3
[[methods]]
kind = "marginals"
"""
CAPS = {"north": 40, "south": 30}
ROSTER = RosterFile(
    sites=tuple((name, one.public) for name, one in SITE_IDS.items()),
    parties=tuple(one.public for one in PARTY_IDS),
    dealer="",
)
NODES = {name: Node(role="site", cap=cap, key="ecdsa-sha2-nistp384 AAAA") for name, cap in CAPS.items()}


@pytest.fixture
def file(tmp_path):
    (tmp_path / "genes.txt").write_text("gene\nA\nB\nC\n")
    (tmp_path / "e.toml").write_text(FACTS.format(genes=tmp_path / "genes.txt"))
    return tmp_path / "e.toml"


def test_sites_are_the_rosters_and_each_has_the_cap_that_it_asked_for(file):
    made = studies.make(experiment.load(file), ROSTER, NODES, None)
    assert {one.name: one.cap for one in made.roster} == CAPS and made.quorum == 2
    assert (made.schema_.genes, made.schema_.unit) == (("A", "B", "C"), "donor")
    larger = NODES | {"south": NODES["south"].model_copy(update={"cap": 41})}
    with pytest.raises(SpecError, match=r"caps\.site_cap: expected at least the 41 donors that south asked for"):
        studies.make(experiment.load(file), ROSTER, larger, None)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[caps]", "[split]\nsites = 2\n[caps]", r"split: expected none beside \[schema\]"),
        ("[schema]", "[schemas]", "schemas: unknown key; did you mean 'schema_'"),
        ("genes.txt", "gene.txt", "schema: panel .*expected a file of one gene a line"),
        ('"y"]', '"x"]', "schema: expected every label once, got 'x' twice"),
    ],
)
def test_public_facts_that_break_a_rule_are_refused_by_field(file, old, new, said):
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(SpecError, match=rf"e\.toml: {said}"):
        experiment.load(file)


def test_who_needs_rows_says_so_of_an_experiment_without(file):
    for command in (["plan", file], ["deal", file, file.parent / "out"]):
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exit_code == 2 and "cohort: expected a " in done.output, done.output


def test_a_public_cohorts_schema_makes_the_study_that_its_rows_make(tmp_path):
    (tmp_path / "rows.toml").write_text(EXPERIMENT)
    told = CliRunner().invoke(app, ["study", "schema", str(tmp_path / "rows.toml")]).stdout
    head, tail = EXPERIMENT.split("[cohort]")[0], EXPERIMENT[EXPERIMENT.index("[caps]") :]
    (tmp_path / "facts.toml").write_text(head + told + tail)
    roster = RosterFile(sites=(("site-1", "a" * 64), ("site-2", "b" * 64)), parties=ROSTER.parties, dealer="")
    one, two = (studies.make(experiment.load(tmp_path / f"{n}.toml"), roster, {}, None) for n in ("rows", "facts"))
    assert one == two and one.digest == two.digest


def test_what_a_private_cohorts_columns_are_called_is_not_told(tmp_path):
    config = settle_in(tmp_path)
    text = EXPERIMENT.replace('"pbmc68k"', json.dumps(str(config.cohort.source))).replace('"raw"', '"X"')
    (tmp_path / "e.toml").write_text(
        text.replace('"bulk_labels"', '"kind"').replace("labels = [", 'labels = ["x", "y",').replace("CD3D", "A")
    )
    with pytest.raises(SpecError, match=r"cohort\.source: expected a public cohort"):
        studies.public_facts(experiment.load(tmp_path / "e.toml"))


def invoked(*command):
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output


def approved(folder, name, study):
    """Make a hospital that approved ``study`` as its operator does."""
    folder.mkdir()
    shard = make_shard(20, first=100 * (name == "south"))
    config = settle_in(folder, shard, name=name, table=rules(donors=CAPS[name]))
    invoked("site", "approve", folder / "site.toml", study, "--yes")
    return config


@contextlib.contextmanager
def process(folder, config):
    """Serve a hospital in a process of its own; yield its handle."""
    serve = [sys.executable, "-W", "ignore", "-m", "fedgenome.cli", "site", "serve", str(folder / "site.toml")]
    with (folder / "log").open("wb") as log, subprocess.Popen(serve, stdout=log, stderr=log) as running:
        reached = agents.reach(str(config.socket), KEY, 0, 60.0)
        while reached("hello", Call(header={})).header.get("site") != config.name:  # pytest-timeout bounds it
            assert running.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield reached
        running.kill()


def test_a_study_of_public_facts_comes_to_an_answer_of_hospitals_that_alone_hold_rows(file, tmp_path, desk):
    ROSTER.save(tmp_path / "roster.toml")
    (tmp_path / "nodes.json").write_bytes(nodes.dump(NODES))
    SIGNER.save(tmp_path / "signer.pem")
    study, given = tmp_path / "study.json", ("--nodes", tmp_path / "nodes.json", "--sign", tmp_path / "signer.pem")
    invoked("study", "make", file, "--roster", tmp_path / "roster.toml", "--out", study, *given)
    north, south = (approved(tmp_path / name, name, study) for name in CAPS)
    with process(tmp_path / "north", north) as reached:
        conducted = trained(tmp_path, file, [reached, desk(south).handle])
    assert conducted.answered == {"marginals": 1} and set(conducted.releases) == {"marginals"}
    assert [(config.state / site.LEDGER).read_text().count('"charge"') for config in (north, south)] == [1, 1]


def trained(folder, file, handles):
    """Conduct the study at ``handles`` as a deployment's coordinator does, with parties that keep their processes."""
    (folder / "d.toml").write_text('superlink = "127.0.0.1:1"\njobs = "jobs"\nstudy = "study.json"\n')
    deployment = Deployment(DeploymentConfig.load(folder / "d.toml"))
    prepared = deployment.prepare(experiment.load(file), np.random.default_rng(0))
    signatures = deployment._signed.wire
    post = InProcessPost({role: desk.handle for role, desk in zip(ROLES, desks_of(PARTY_IDS), strict=False)})
    told = {"study": prepared.study, "plan": prepared.plan, "run": "run-1", "signatures": signatures}
    job = Job(
        **told,
        methods=prepared.methods,
        parties=RemoteParties(post, **told),
        folder=folder / "checkpoints",
        root=Root.of(None, "coordinator"),
    )
    client = site_app.make(lambda context: handles[int(context.node_config["partition-id"])])
    conducted = Coordinator(job)
    conducted.conduct(LocalGrid(client, len(handles)))
    return conducted
