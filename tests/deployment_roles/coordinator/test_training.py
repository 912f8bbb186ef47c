"""A run on a real SuperLink gives what engine local gives; whatever is wrong is one line before anything is asked."""

import datetime
import json
import signal
import time

import numpy as np
import pytest

from fedgenome import experiment, federate
from fedgenome.deployment.coordinator.flower import Away, Flower
from fedgenome.deployment.coordinator.standing import Standing, text
from fedgenome.deployment.coordinator.training import Deployment, DeploymentConfig
from fedgenome.errors import RoleError, SpecError
from fedgenome.federation.job import Failure, JobFolder, Progress, Result
from tests.deployment_roles import loopback
from tests.deployment_roles.small_run import TEXT, agreed, hospitals, run, submitted, written

PUBLIC = TEXT.replace('[cohort]\nsource = "pbmc68k"\nlayer = "raw"\nscale = "log"\npanel', "[schema]\ngenes")
PUBLIC = PUBLIC.replace('label = "bulk_labels"\n', "").replace("[split]\nsites = 2\n", "")
MORE = 'superlink = "127.0.0.1:1"\njobs = "jobs"\nstudy = "study.json"\n'


def interrupted(folder, *more):
    """Run until the ServerApp waits for its sites, then press Ctrl-C; return exit code and standing."""
    with loopback.command("run", "small.toml", "--json", *more, cwd=folder) as running:
        while not (begun := list(folder.glob("jobs/*/progress.json"))):
            assert running.poll() is None, running.communicate()
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        running.communicate()
    run = (begun[0].parent / "flower-run").read_text()
    with Flower(more[1].read_text().split('"')[1], None) as flower:
        return running.returncode, flower.standing(run).word


@pytest.mark.deployment
@pytest.mark.timeout(600)
def test_a_seeded_run_on_a_superlink_interrupted_and_resumed_is_that_of_engine_local_byte_for_byte(tmp_path):
    prepared = agreed(tmp_path)
    with loopback.superlink(tmp_path) as address:
        given = submitted(tmp_path, address)
        assert interrupted(tmp_path, *given) == (130, "finished:stopped")
        with hospitals(tmp_path, prepared, address):
            there = run(tmp_path, *given, "--resume")
    assert there == run(tmp_path, "--out", "local")


@pytest.mark.deployment
@pytest.mark.timeout(600)
def test_a_release_of_hospitals_alone_is_audited_by_their_sums(tmp_path):
    holding = (
        '[[methods]]\nkind = "membership"\noptions = { rows = 200 }\n[holdout]\nshare = 0.4\ncanaries = 10\n[release]'
    )
    caps = ("site_cap = 700\ndonors_bound = 700", "site_cap = 720\ndonors_bound = 800")
    held, public = (text.replace(*caps).replace("[release]", holding) for text in (TEXT, PUBLIC))
    prepared = agreed(tmp_path, held)
    (tmp_path / "small.toml").write_text(public)
    with loopback.superlink(tmp_path) as address:
        given = submitted(tmp_path, address)
        with hospitals(tmp_path, prepared, address):
            told = run(tmp_path, *given)
    audit, card = json.loads(told["audit.json"]), json.loads(told["card.json"])
    assert audit["audited"] and not card["risk"]["gate_reads_people"]
    (found,) = audit["charged"]
    assert 100 < found["held"] < found["members"] < 500 and found["canaries"]["made"] == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('superlink = "10.0.0.7:8000"\njobs = "jobs"\nstudy = "s"', r"certificates: expected ca.crt .* 10\.0\.0\.7"),
        ('superlink = "http://localhost"\njobs = "jobs"\nstudy = "s"', "superlink: "),
        (MORE + 'certificate = "ca.crt"', "certificate: unknown key; did you mean 'certificates'"),
        (MORE + 'parties = "local"', "parties: .*'grid'"),
        ("superlink = ", "expected TOML"),
    ],
)
def test_a_deployment_file_that_breaks_a_rule_is_refused_by_field(tmp_path, text, said):
    with pytest.raises(SpecError, match=rf"deployment\.toml: .*{said}"):
        DeploymentConfig.load(written(tmp_path, text))


def test_paths_of_a_deployment_file_are_relative_to_it(tmp_path):
    config = DeploymentConfig.load(written(tmp_path, MORE + 'deal = "deal"\napp = "app"'))
    assert (config.jobs, config.study, config.deal) == (tmp_path / "jobs", tmp_path / "study.json", tmp_path / "deal")
    assert config.app == str(tmp_path / "app")


def deployment(folder, more=""):
    return Deployment(DeploymentConfig.load(written(folder, MORE + more)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epsilon = 10.0", "epsilon = 9.0"), "it differs in privacy$"),
        (("high = 7.0", "high = 8.0"), r"it differs in schema \(cohort or schema\)$"),
        (
            ("site_cap = 700", "site_cap = 600"),
            r"differs in roster \(caps.site_cap|at least the 700 donors of site-1, got 600$",
        ),
        (("donors_bound = 700", "donors_bound = 701"), r"it differs in donors_bound \(caps.donors_bound\)$"),
    ],
)
@pytest.mark.parametrize("text", [TEXT, PUBLIC])
def test_an_experiment_that_is_not_the_signed_study_is_refused_by_what_differs(tmp_path, change, said, text):
    agreed(tmp_path)
    assert change[0] in text
    (tmp_path / "small.toml").write_text(text.replace(*change))
    spec = experiment.load(tmp_path / "small.toml")
    with pytest.raises(SpecError, match=said):
        deployment(tmp_path).prepare(spec, np.random.default_rng(0))


def test_a_coordinator_that_knows_public_facts_alone_decides_the_same_and_holds_nobody(tmp_path):
    one = agreed(tmp_path)
    (tmp_path / "small.toml").write_text(PUBLIC)
    spec = experiment.load(tmp_path / "small.toml")
    two = deployment(tmp_path).prepare(spec, np.random.default_rng(0))
    assert (two.study, two.plan, two.noise, two.queries) == (one.study, one.plan, one.noise, one.queries)
    assert two.split.members.n_donors == two.split.controls.n_donors == 0


@pytest.mark.parametrize("text", ["", "0" * 63, "g" * 64])
def test_a_deal_that_is_no_key_is_refused(tmp_path, text):
    agreed(tmp_path)
    (tmp_path / "deal").write_text(text)
    with pytest.raises(SpecError, match="deal: expected 64 hex digits"):
        deployment(tmp_path, 'deal = "deal"')


def test_a_superlink_that_is_away_is_told_by_its_address_and_refuses_nothing_itself():
    address = f"127.0.0.1:{loopback.free_port()}"
    with Flower(address, None) as flower, pytest.raises(Away, match=f"the SuperLink at {address} cannot be reached"):
        flower.standing("1")


def done(folder, spec, **changes):
    """Leave a job as a ServerApp does that has answered everything."""
    job = JobFolder.create(folder / "jobs", spec)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    job.tell(
        Progress(since=now, updated=now, method="marginals", answered=1, total=1, done={"marginals": 1}, **changes)
    )
    return job


def test_the_standing_of_a_run_is_read_from_its_folder(tmp_path):
    prepared = agreed(tmp_path)
    place = federate.Place(state=tmp_path, ledgers=tmp_path, parties=tmp_path, run="5" * 32, seed=7)
    spec = deployment(tmp_path)._spec(prepared, place)
    job = done(tmp_path, spec, present=("site-1",), absent=("site-2",))
    told = Standing.of(job.path)
    assert (told.state, told.methods, told.absent) == ("running", {"marginals": (1, 1)}, ("site-2",))
    job.finish(Result(error=Failure.of(RoleError("not site-2"))))
    assert Standing.of(job.path).state == "failed" and "failed   not site-2" in text(Standing.of(job.path))


def test_a_run_whose_sums_were_all_opened_is_concluded_without_a_superlink(tmp_path):
    prepared, there = agreed(tmp_path), deployment(tmp_path)
    place = federate.Place(state=tmp_path / "state", ledgers=tmp_path, parties=tmp_path, run="5" * 32, seed=7)
    job = done(tmp_path, there._spec(prepared, place))
    (job.path / "flower-run").write_text("1")
    for label in prepared.methods:
        job.release(label, {"counts": np.arange(3.0)})
    job.finish(Result(answered={"marginals": 1}, uploaded=12))
    trained = there.federate(prepared, place, lambda label, progress: None)
    assert (trained.queries, trained.uploaded) == ({"marginals": 1}, 12)


def test_a_folder_that_is_no_runs_has_no_standing(tmp_path):
    with pytest.raises(SpecError, match="expected a job's folder, or that of a run started with --on"):
        Standing.of(tmp_path)


def test_a_run_that_no_deployment_trains_is_said_to_be_one(tmp_path):
    (tmp_path / "internal" / "state").mkdir(parents=True)
    with pytest.raises(SpecError, match=r"expected a run that was started with --on; .* is in .*outcome\.json"):
        Standing.of(tmp_path)
