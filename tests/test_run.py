"""The main job end to end, with the real roles: what is released, what is withheld, and every way to fail."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from fedgenome import experiment, folders, ledgers, prepare
from fedgenome import run as run_module
from fedgenome.card import NOISED_AT_HOME
from fedgenome.cli.main import app
from fedgenome.errors import SpecError
from fedgenome.utility.metrics import RUN, Settings
from tests.test_prepare import prepared

QUICKSTART = (Path(__file__).parents[1] / "experiments" / "quickstart.toml").read_text()
SMALL = (
    ("rounds = 100", "rounds = 3"),
    ("# seed = 7", "seed = 7"),
    ("rows = 1000", "rows = 200"),
)
# No parties, which take most of a small run's time: for what is not about them.
PLAIN = (('trust = "distributed"', 'trust = "local"'), ("[[methods]]", '[engine]\nsecure = "off"\n\n[[methods]]'))
SIMULATION = "simulation: no privacy guarantee"


def write(folder: Path, *changes: tuple[str, str]) -> Path:
    text = QUICKSTART
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "quickstart.toml"
    path.write_text(text)
    return path


def fedgenome(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedgenome.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


# What a table is good for is measured elsewhere (tests/utility), and would take most of a small run's time here.
COARSE = Settings(repeats=1, classifiers=RUN.classifiers[:1], trees=4, rows=50, folds=2)


@pytest.fixture
def here(monkeypatch):
    """Run a command in this process, which has loaded everything already."""
    monkeypatch.setattr(run_module, "RUN", COARSE)

    def run(*arguments, cwd):
        monkeypatch.chdir(cwd)
        return CliRunner().invoke(app, list(map(str, arguments)))

    return run


def start(*arguments: object, cwd: Path) -> psutil.Popen:
    command = [sys.executable, "-m", "fedgenome.cli", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return psutil.Popen(command, cwd=cwd, preexec_fn=heed_ctrl_c, **pipes)


def heed_ctrl_c() -> None:
    """Undo what a test run in the background of a script inherits: that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished seeded run, small, in this process."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "RUN", COARSE)
        patch.chdir(folder)
        ended = CliRunner().invoke(app, ["run", str(write(folder, *SMALL)), "--json"])
    assert ended.exit_code == 0, ended.stderr + ended.stdout
    return folder, json.loads(ended.stdout)


def test_a_released_run_leaves_release_and_internal_and_says_so(finished):
    folder, outcome = finished
    assert outcome["verdict"] == "released" and outcome["exit"] == 0
    release = set(files(folder / outcome["path"]))
    assert release == {"model.safetensors", "synthetic.h5ad", "card.json", "card.html", "ledger.jsonl", "audit.json"}
    internal = {path.name for path in (folder / outcome["report"]).parent.iterdir()}
    assert {"report.html", "audit.json", "utility.json", "outcome.json"} <= internal and "candidate" not in internal
    found = json.loads((folder / outcome["report"]).with_name("audit.json").read_text())["audit"]
    assert {one["column"] for one in found["strata"]} == {"label"} and found["worst"]["data"]["level"] == 0.95


def test_a_seeded_release_claims_no_privacy(finished):
    folder, outcome = finished
    card = json.loads((folder / outcome["path"] / "card.json").read_text())
    assert card["guarantee"]["epsilon"] is None and SIMULATION in outcome["statement"]


def test_the_same_seed_gives_the_same_release_byte_for_byte(finished):
    folder, outcome = finished
    again = json.loads(fedgenome("run", folder / "quickstart.toml", "--json", cwd=folder).stdout)
    assert again["path"] != outcome["path"]
    assert files(folder / again["path"]) == files(folder / outcome["path"])


def test_synthetic_rows_read_as_anndata_and_say_what_they_are(finished):
    import anndata

    folder, outcome = finished
    table = anndata.read_h5ad(folder / outcome["path"] / "synthetic.h5ad")
    assert table.shape == (200, 50) and table.obs["label"].nunique() > 1 and "synthetic" in str(table.uns).lower()


def test_site_ledgers_hold_every_query_and_verify(finished):
    folder, outcome = finished
    found = sorted((folder / outcome["report"]).parent.glob("sites/*/ledger.jsonl"))
    assert len(found) == 5
    for path in found:
        told = ledgers.read(path)
        assert told.records == 1 + 1 + 1 + 1 + 3 + 1  # open, reserve, tables, labels, rounds, close
        assert told.entries[0].status == "closed" and told.unsigned == 0


def test_plan_prices_what_the_card_prints(tmp_path, here):
    path = write(tmp_path, *SMALL[:1])
    prices = json.loads(here("plan", path, "--json", cwd=tmp_path).stdout)
    outcome = json.loads(here("run", path, "--json", cwd=tmp_path).stdout)
    card = json.loads((tmp_path / outcome["path"] / "card.json").read_text())
    assert prices["epsilon"] == card["guarantee"]["epsilon"] <= 10
    assert prices["epsilon_colluding"] == card["guarantee"]["epsilon_two_colluders"] > prices["epsilon"]
    assert prices["by_method"] == card["composition"]["epsilon_by_method"]
    parts = [(part["noise_multiplier"], part["queries"], part["sampling"]) for part in prices["parts"]]
    assert parts == [(m["noise_multiplier"], m["count"], m["sampling"]) for m in card["mechanisms"]]
    assert card["composition"]["queries_answered"] == {"marginals": 1, "cvae": 4}
    assert [part["asked"] for part in prices["parts"]] == [1, 1, 3]
    for path in (tmp_path / outcome["report"]).parent.glob("sites/*/ledger.jsonl"):
        agrees_with_its_ledger(prices, ledgers.read(path))


def agrees_with_its_ledger(prices, told) -> None:
    (entry,) = told.entries
    assert [entry.epsilon, entry.delta] == prices["reserves"] and list(told.spent) == prices["reserves"]
    assert (entry.priced, entry.scopes) == (prices["epsilon"], prices["by_method"])
    assert [form.charged for form in entry.forms] == [part["asked"] for part in prices["parts"]]


def test_a_withheld_run_exits_3_and_leaves_no_release(tmp_path, here):
    limit = '[audit.auc]\nmost = 0.01\nreason = "nothing passes this"\n\n[release]'
    ended = here("run", write(tmp_path, *SMALL, *PLAIN, ("[release]", limit)), "--quiet", cwd=tmp_path)
    assert ended.exit_code == 3 and ended.stdout.startswith("withheld: "), ended.stderr
    assert not list(tmp_path.glob("runs/*/release")) and list(tmp_path.glob("runs/*/internal/candidate/card.json"))


def test_trust_none_with_plain_sums_runs_and_says_that_nobody_is_protected(tmp_path, here):
    private = (
        'trust = "distributed"                 # noise is added inside the secure sum; nobody sees a site\'s vector\n'
    )
    rest = QUICKSTART[QUICKSTART.index(private) :]
    block = rest[: rest.index("\n\n")]
    path = write(tmp_path, *SMALL, (block, 'trust = "none"\n[engine]\nsecure = "off"'))
    outcome = json.loads(here("run", path, "--json", cwd=tmp_path).stdout)
    card = json.loads((tmp_path / outcome["path"] / "card.json").read_text())
    assert any("no privacy" in alert for alert in card["alerts"])
    assert any("secure aggregation off" in alert for alert in card["alerts"])


class Told(run_module.Reporter):
    def __init__(self):
        self.lines = []

    def warn(self, text):
        self.lines.append(text)


def test_a_run_under_site_warns_of_few_sites_before_anything_is_asked():
    told = Told()
    run_module._Watch(prepared(kind="cvae", trust="site"), told, lambda: None)
    assert len(told.lines) == 1 and "trust 'site' with 5 sites and 51 queries" in told.lines[0]


def test_local_with_plain_sums_claims_epsilon_and_its_ledgers_count_local_steps(tmp_path, here):
    path = write(tmp_path, SMALL[0], ("sampling = 0.2", "sampling = 0.2, local_steps = 2"), *PLAIN)
    outcome = json.loads(here("run", path, "--json", cwd=tmp_path).stdout)
    card = json.loads((tmp_path / outcome["path"] / "card.json").read_text())
    assert card["guarantee"]["epsilon"] <= 10 and "whichever parties collude" in outcome["statement"]
    assert NOISED_AT_HOME in card["alerts"] and {m["where"] for m in card["mechanisms"]} == {"home"}
    for ledger in (tmp_path / outcome["report"]).parent.glob("sites/*/ledger.jsonl"):
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert [line.get("steps", 1) for line in lines if line["event"] == "charge"] == [1, 1, 2, 2, 2]


def alone(folder):
    """An experiment whose only method is a classifier."""
    head, tail = QUICKSTART.split("[[methods]]", 1)[0], QUICKSTART.split("[release]", 1)[1]
    method = '[[methods]]\nkind = "linear"\noptions = { rounds = 10, sampling = 1.0 }\n'
    text = head + method + "[release]" + tail.replace('generator = "marginals"', "")
    for old, new in PLAIN:
        text = text.replace(old, new, 1)
    path = folder / "alone.toml"
    path.write_text(text.replace('name = "quickstart"', 'name = "alone"'))
    return path


def test_a_classifier_alone_is_attacked_judged_and_released_without_rows(tmp_path, here):
    ended = here("run", alone(tmp_path), "--json", cwd=tmp_path)
    assert ended.exit_code == 0, ended.output
    outcome = json.loads(ended.stdout)
    release, internal = tmp_path / outcome["path"], (tmp_path / outcome["report"]).parent
    names = {"model.safetensors", "ledger.jsonl", "card.json", "card.html", "audit.json"}
    assert {path.name for path in release.iterdir()} == names
    assert json.loads((release / "card.json").read_text())["about"]["product"] == "models"
    attacks = json.loads((internal / "audit.json").read_text())["audit"]["attacks"]
    assert {attack["name"] for attack in attacks} == {"linear: model-loss-calibrated"}
    right = json.loads((internal / "utility.json").read_text())["linear"]["classifier"]
    assert right["rows"] == 175 and right["accuracy"]["low"] > right["majority"]["estimate"]
    assert "Classifiers" in (internal / "report.html").read_text()
    refused = here("sample", release, "-n", 10, "--out", "rows.h5ad", cwd=tmp_path)
    assert refused.exit_code == 2 and "a release with rows that a method generated" in refused.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('source = "pbmc68k"', 'source = "nowhere.h5ad"'), "nowhere.h5ad"),
        (("epsilon = 10.0", "epsilom = 10.0"), "did you mean 'epsilon'"),
        (('kind = "marginals"', 'name = "marginals"\nkind = "linear"'), "release.generator: expected a method"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, here, change, message):
    ended = here("run", write(tmp_path, change), "--quiet", cwd=tmp_path)
    assert ended.exit_code == 2 and message in ended.stderr, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('label = "bulk_labels"', 'label = "bulk_label"'), "bulk_labels"),
        (('"Dendritic",', ""), "Dendritic"),
        (('panel = "blood_markers"', 'panel = ["NOSUCHGENE"]'), "NOSUCHGENE"),
        (("site_cap = 400", "site_cap = 20"), r"caps\.site_cap"),
        (("donors_bound = 700", "donors_bound = 524"), r"caps\.donors_bound: expected at least the 525 donors"),
        (("site_cap = 400 ", "quorum = 6\nsite_cap = 400 "), "expected quorum <= sites, got quorum=6, sites=5"),
        (("rounds = 100", "round = 60"), "round"),
        (('kind = "cvae"', 'kind = "vae"'), "cvae"),
    ],
)
def test_bad_input_is_named_before_any_role_starts(tmp_path, change, message):
    with pytest.raises(SpecError, match=message) as found:
        run_module.price(experiment.load(write(tmp_path, change)))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("field", ["out", "engine.ledgers"])
def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_no_run(tmp_path, here, field):
    (tmp_path / "taken").write_text("a file")
    ledgers = ("[[methods]]", '[engine]\nsecure = "off"\nledgers = "taken"\n\n[[methods]]'), PLAIN[0], *KEPT[2:]
    given = (ledgers, ()) if field == "engine.ledgers" else (PLAIN, ("--out", "taken"))
    ended = here("run", write(tmp_path, *given[0]), "--quiet", *given[1], cwd=tmp_path)
    assert ended.exit_code == 2 and not (tmp_path / "runs").exists()
    assert ended.stderr == f"error: {field}: expected a folder to write to, got taken (File exists)\n"


KEPT = (  # a budget over runs needs hospitals whose donors stay theirs
    ("[release]", '[engine]\nsecure = "off"\nledgers = "ledgers"\nbudget_epsilon = 10.0\n\n[release]'),
    PLAIN[0],
    ('by = "dirichlet"', 'by = "column"'),
    ('label = "bulk_labels"', 'label = "bulk_labels"\nsite = "phase"'),
    ("site_cap = 400", "site_cap = 700"),
)


def test_people_of_hospitals_are_told_apart_by_class_and_hospital(tmp_path):
    found = prepare.prepare(experiment.load(write(tmp_path, *KEPT)), np.random.default_rng(0))
    members, controls = (run_module.people_of(found, shard) for shard in (found.split.members, found.split.controls))
    assert list(members.strata) == list(controls.strata) == ["label", "site"]
    sizes = dict(zip(*np.unique(members.strata["site"], return_counts=True), strict=True))
    assert {site.lower(): n for site, n in sizes.items()} == {
        n: len(shard.label) for n, shard in found.split.sites.items()
    }
    named = [found.split.labels[code] for code in controls.label]
    assert list(controls.strata["label"]) == named and set(controls.strata["site"]) <= set(sizes)


def test_a_budget_kept_over_runs_refuses_the_second_run(tmp_path, here):
    path = write(tmp_path, ("rounds = 100", "rounds = 3"), *KEPT)
    assert here("run", path, "--quiet", cwd=tmp_path).exit_code in (0, 3)
    ended = here("run", path, "--quiet", cwd=tmp_path)
    assert ended.exit_code == 5 and "budget 10" in ended.stderr and "epsilon" in ended.stderr
    priced = here("plan", path, "--json", cwd=tmp_path)
    told = json.loads(priced.stdout)
    assert priced.exit_code == 5 and "all plans together need epsilon 20, budget 10" in told["refused"]
    assert [account["after"][0] for account in told["accounts"].values()] == [0.0] * 3


def test_a_tiny_site_and_a_class_at_one_site_work(tmp_path, here):
    changes = (("alpha = 1.0", "alpha = 0.02"), ("sites = 5", "sites = 12"), ("site_cap = 400", "site_cap = 700"))
    ended = here("run", write(tmp_path, *SMALL, *PLAIN, *changes), "--json", cwd=tmp_path)
    assert ended.exit_code == 0, ended.stderr


LONG = (("rounds = 100", "rounds = 5000"), SMALL[1])


def started_long(tmp_path: Path) -> tuple[psutil.Popen, Path, list[psutil.Process]]:
    """Start a long run; return it, its folder and its parties, some rounds in."""
    run = start("run", write(tmp_path, *LONG), cwd=tmp_path)
    asked = tmp_path / "runs" / "quickstart" / "internal" / "state" / "asked.json"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and run.poll() is None:
        if asked.exists() and json.loads(asked.read_text())["step"] > 5:
            break
        time.sleep(0.1)
    parties = [p for p in run.children() if "fedgenome.secure.party" in " ".join(p.cmdline())]
    assert len(parties) == 3, run.communicate(timeout=5)[1]
    return run, tmp_path / "runs" / "quickstart", parties


def none_left(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=3)
    return not alive


def nothing_half_written(folder: Path) -> bool:
    return not (folder / "release").exists() and not (folder / "internal" / "outcome.json").exists()


@pytest.mark.faults
def test_a_killed_party_ends_the_run_within_3_seconds_by_name(tmp_path):
    run, folder, parties = started_long(tmp_path)
    parties[2].kill()  # each of them: tests/secure/test_parties_ended.py
    begin = time.monotonic()
    _, error = run.communicate(timeout=30)
    assert time.monotonic() - begin < 3.5 and run.returncode == 4
    assert "party" in error and "ended (signal 9" in error
    assert none_left(parties) and nothing_half_written(folder)


def test_ctrl_c_ends_every_process_and_the_run_can_be_resumed(tmp_path):
    run, folder, parties = started_long(tmp_path)
    os.kill(run.pid, signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130 and "--resume" in error
    assert none_left(parties) and nothing_half_written(folder)
    before = json.loads((folder / "internal" / "state" / "asked.json").read_text())
    again = start("run", tmp_path / "quickstart.toml", "--resume", cwd=tmp_path)
    asked = folder / "internal" / "state" / "asked.json"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and json.loads(asked.read_text())["step"] <= before["step"] + 2:
        time.sleep(0.1)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
    assert json.loads(asked.read_text())["step"] > before["step"] + 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the point of the test
def test_an_interrupt_that_a_finalizer_swallows_ends_the_run_at_the_next_query():
    class Swallows:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with run_module._interruptible() as check:
            Swallows()
            with pytest.raises(KeyboardInterrupt):
                check()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.faults
def test_a_killed_driver_leaves_no_party(tmp_path):
    run, folder, parties = started_long(tmp_path)
    run.kill()
    run.communicate(timeout=10)
    assert none_left(parties) and nothing_half_written(folder)


@pytest.mark.faults
def test_a_resumed_run_ends_in_a_release(tmp_path):
    path = write(tmp_path, *SMALL, ("colluders = 1 ", "retries = 1.0\ncolluders = 1 "))
    run = start("run", path, cwd=tmp_path)
    asked = tmp_path / "runs" / "quickstart" / "internal" / "state" / "marginals.safetensors"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not asked.exists():
        time.sleep(0.02)
    run.kill()
    run.communicate(timeout=10)
    ended = fedgenome("run", path, "--resume", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_resuming_without_an_unfinished_run_is_refused(tmp_path, here):
    ended = here("run", write(tmp_path, *SMALL), "--resume", "--quiet", cwd=tmp_path)
    assert ended.exit_code == 2 and "expected an unfinished run quickstart" in ended.stderr


def test_resuming_with_a_changed_file_is_refused(tmp_path):
    folders.create(tmp_path, "quickstart", {"rounds": 1}, "run", "00" * 32)
    with pytest.raises(SpecError, match="another version of the experiment file"):
        folders.unfinished(tmp_path, "quickstart", {"rounds": 2})


def test_withheld_runs_of_a_name_are_counted(tmp_path):
    for verdict in ("withheld", "released", "withheld"):
        folders.create(tmp_path, "quickstart", {}, "run", "00" * 32).finish({"verdict": verdict})
    folders.create(tmp_path, "quickstart", {}, "run", "00" * 32)
    folders.create(tmp_path, "other", {}, "run", "00" * 32).finish({"verdict": "withheld"})
    assert folders.withheld(tmp_path, "quickstart") == 2


def test_earlier_runs_are_left_alone(tmp_path):
    first = folders.create(tmp_path, "quickstart", {}, "run", "00" * 32)
    second = folders.create(tmp_path, "quickstart", {}, "run", "00" * 32)
    assert (first.path.name, second.path.name) == ("quickstart", "quickstart-2")


HOLDING = (
    ('kind = "cvae"\nnoise = 1.0\noptions = { rounds = 100, sampling = 0.2, hidden = 32 }', 'kind = "membership"'),
    ("controls = 0.25", "controls = 0.0"),
    ("[release]", "[holdout]\nshare = 0.3\n\n[release]"),
)


def test_a_run_without_controls_is_audited_by_sums_that_its_epsilon_pays_for(tmp_path, here):
    outcome = json.loads(here("run", write(tmp_path, *PLAIN, *HOLDING), "--json", cwd=tmp_path).stdout)
    release = tmp_path / outcome["path"]
    card, told = (json.loads((release / name).read_text()) for name in ("card.json", "audit.json"))
    assert card["guarantee"]["epsilon"] and not card["risk"]["gate_reads_people"]
    assert "membership" in card["composition"]["epsilon_by_method"]
    (found,) = told["charged"]
    assert 100 < found["held"] < 300 and found["members"] + found["held"] == pytest.approx(700, abs=80)


@pytest.mark.ray
def test_flowers_ray_engine_gives_the_same_release_byte_for_byte(finished):
    folder, outcome = finished
    path = write(folder, *SMALL, ("[release]", '[engine]\nkind = "ray"\n\n[release]'))
    ended = fedgenome("run", path, "--json", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    again = json.loads(ended.stdout.strip().splitlines()[-1])
    assert files(folder / again["path"]) == files(folder / outcome["path"])
