"""The deployed ServerApp and its job's folder: who may start it, what it leaves, what it tells of a failure."""

import json

import pytest

from fedgenome.errors import BudgetRefused, FedgenomeError, RoleError, SpecError
from fedgenome.federation import checkpoint, job, server_app, site_app
from fedgenome.federation.job import JobFolder, JobSpec
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.wire import refusal
from tests.federation.small import make_plan, make_study

RUN = "5" * 32
PLAIN = {"trust": "none", "secure": "off"}


def spec_of(study, **changes):
    given = {"study": study, "plan": make_plan(study), "run": RUN, "queries": {"marginals": 1}, "timeout": 5.0}
    noise = None if study.privacy.trust == "none" else 4.0
    return JobSpec(**(given | {"token": job.new_token(), "noise": noise} | changes))


def served(jobs, spec, agents, **changes):
    handles = [getattr(agent, "handle", agent) for agent in agents]
    client = site_app.make(lambda context: handles[int(context.node_config["partition-id"])])
    server_app.serve(LocalGrid(client, len(agents)), {"job": spec.run, "token": spec.token} | changes, str(jobs))


@pytest.fixture
def plain(agent, tmp_path):
    """A job of plain sums, its agents, and its folder."""
    study = make_study(**PLAIN)
    spec = spec_of(study)
    folder = JobFolder.create(tmp_path / "jobs", spec)
    return spec, [agent(study, "north"), agent(study, "south")], folder


def test_a_job_leaves_its_arrays_its_progress_and_last_its_result(plain):
    spec, agents, folder = plain
    served(folder.path.parent, spec, agents)
    result, progress = folder.result(), folder.progress()
    assert result.error is None and result.answered == {"marginals": 1} and result.uploaded > 0
    assert (progress.method, progress.answered, progress.total) == ("marginals", 1, 1)
    assert progress.present == ("north", "south") and progress.absent == ()
    assert folder.released("marginals")["label_weights"] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert checkpoint.stand(folder.state, "marginals").step == 1


def test_a_job_of_noised_sums_is_set_to_its_plans_noise(agent, tmp_path):
    study = make_study(trust="local", secure="off")
    spec = spec_of(study, seed=7)
    folder = JobFolder.create(tmp_path / "jobs", spec)
    served(tmp_path / "jobs", spec, [agent(study, "north", seed=7), agent(study, "south", seed=7)])
    assert folder.result().answered == {"marginals": 1}


@pytest.mark.parametrize("changes", [{"token": ""}, {"token": "0" * 64}, {"job": "../" + RUN}, {"job": "6" * 32}])
def test_a_run_without_the_jobs_name_and_token_reads_and_writes_nothing(plain, changes):
    spec, agents, folder = plain
    with pytest.raises(SpecError, match="expected"):
        served(folder.path.parent, spec, agents, **changes)
    assert folder.result() is None and folder.progress() is None


def test_the_folder_of_jobs_is_the_superlinks_to_name(plain):
    spec, agents, _ = plain
    with pytest.raises(SpecError, match="FEDGENOME_JOBS"):
        served("", spec, agents)


def test_a_role_that_is_missing_is_told_in_the_result(plain, monkeypatch):
    monkeypatch.setattr(server_app, "_PATIENCE_SECONDS", 0.0)
    spec, agents, folder = plain
    with pytest.raises(RoleError):
        served(folder.path.parent, spec_of(spec.study, token=spec.token), agents[:1])
    error = folder.result().error
    assert (error.code, error.exit) == ("role", 4) and "missing: south" in str(error.error())


def test_while_sites_are_awaited_the_progress_says_who_is_there(plain, monkeypatch):
    monkeypatch.setattr(server_app, "_PATIENCE_SECONDS", 0.0)
    spec, agents, folder = plain
    with pytest.raises(RoleError, match="missing: south"):
        served(folder.path.parent, spec, agents[:1])
    progress = folder.progress()
    assert (progress.present, progress.absent, progress.answered) == (("north",), ("south",), 0)


def test_what_a_job_warns_of_lies_beside_it_line_by_line(plain, monkeypatch):
    monkeypatch.setattr(server_app, "_PATIENCE_SECONDS", 0.0)
    spec, agents, folder = plain
    gone = [agents[0], lambda kind, call: refusal("unreachable", "gone")]
    with pytest.raises(RoleError):
        served(folder.path.parent, spec, gone)
    lines, end = folder.warned()
    assert len(lines) == 1 and lines[0].endswith("refuses to hello: unreachable (gone)")
    with folder.warnings.open("a") as file:
        file.write("a whole line\nhalf a li")
    assert folder.warned(end)[0] == ["a whole line"] and folder.warned(folder.warned(end)[1])[0] == []


def test_an_error_that_nobody_foresaw_leaves_without_its_text(plain, monkeypatch):
    spec, agents, folder = plain

    def fails(*_):
        raise ValueError("donor-17 is ill")

    monkeypatch.setattr(server_app.registry, "build_all", fails)
    with pytest.raises(RoleError, match=r"^the coordinator failed inside: ValueError at test_job.py:\d+$") as fault:
        served(folder.path.parent, spec, agents)
    told = (folder.path / "result.json").read_text()
    assert fault.value.__suppress_context__ and "donor-17" not in told and "internal" in told


def test_only_one_serverapp_works_on_a_job(plain):
    spec, agents, folder = plain
    with folder.held(), pytest.raises(RoleError, match="another ServerApp works on this job"):
        served(folder.path.parent, spec, agents)
    assert folder.result() is None


def test_a_job_that_failed_is_taken_up_with_another_token(plain):
    spec, agents, folder = plain
    with pytest.raises(FedgenomeError):
        served(folder.path.parent, spec, agents[:1])
    again = spec.model_copy(update={"token": job.new_token()})
    JobFolder.create(folder.path.parent, again)
    with pytest.raises(SpecError, match="expected the token of its last submission"):
        served(folder.path.parent, spec, agents)
    served(folder.path.parent, again, agents)
    assert folder.result().error is None


def test_a_job_that_was_done_keeps_its_result(plain):
    spec, agents, folder = plain
    served(folder.path.parent, spec, agents)
    JobFolder.create(folder.path.parent, spec.model_copy(update={"token": job.new_token()}))
    assert folder.result().answered == {"marginals": 1} and folder.spec() == spec


def test_another_job_does_not_take_a_folders_place(plain):
    spec, _, folder = plain
    with pytest.raises(SpecError, match="expected the job of this experiment and Study"):
        JobFolder.create(folder.path.parent, spec.model_copy(update={"seed": 9}))


@pytest.mark.parametrize(("code", "kind"), [("budget", BudgetRefused), ("spec", SpecError), ("role", RoleError)])
def test_an_error_is_the_same_kind_again_on_the_other_side(code, kind):
    told = job.Failure.of(kind("no more"))
    assert told.code == code and type(told.error()) is kind and str(told.error()) == "no more"


def test_a_job_is_read_by_its_owner_only(plain):
    *_, folder = plain
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert json.loads((folder.path / "job.json").read_text())["run"] == RUN
