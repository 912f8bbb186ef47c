"""``fedgenome audit``: any table or release, with files of members and controls; exit codes, text, JSON and page."""

import json
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fedgenome import auditing
from fedgenome.audit.run import ATTACKS, GATE, STANDARD_ON_MODEL
from fedgenome.cli.main import app
from fedgenome.errors import SpecError
from fedgenome.tables import Reading
from tests.small_release import LABELS, make

GENES = [f"G{k}" for k in range(30)]


def people(n, seed, genes=GENES):
    """A table of n people: two types, genes independent within a type."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    x = rng.normal(3 + kind[:, None], 1, (n, len(genes))).clip(0, 8)
    return pd.DataFrame(x, columns=genes).assign(type=np.array(["B", "T"])[kind])


def write(folder, name, frame):
    path = folder / name
    if path.suffix != ".h5ad":
        frame.to_csv(path, sep="," if path.suffix == ".csv" else "\t")
        return path
    obs = frame.drop(columns=GENES, errors="ignore").set_index(frame.index.astype(str))
    genes = [name for name in frame if name in GENES]
    anndata.AnnData(frame[genes].to_numpy(), obs, pd.DataFrame(index=genes)).write_h5ad(path)
    return path


@pytest.fixture
def files(tmp_path):
    """Members, controls and a table over other people; the last of ``copied.csv`` are near-copies of members."""
    members, made = people(150, 1), people(400, 3)
    write(tmp_path, "members.h5ad", members)
    write(tmp_path, "controls.tsv", people(150, 2))
    write(tmp_path, "made.csv", made.rename(columns={"type": "label"}))
    made.iloc[-60:] = members.iloc[:60]
    write(tmp_path, "copied.csv", made)
    return tmp_path


def call(files, target, *arguments, controls="controls.tsv"):
    cohorts = ["--members", files / "members.h5ad", "--controls", files / controls]
    return CliRunner().invoke(app, list(map(str, ["audit", files / target, *cohorts, "--label", "type", *arguments])))


def test_a_table_over_other_people_is_not_refuted(files):
    ended = call(files, "made.csv", "--low", 0, "--high", 8)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith("internal: reads real people\ntable made.csv, members members.h5ad, controls")
    assert "150 members, 100 controls, 50 more as a base; the unit is a row, not a person" in ended.stdout
    assert "could have detected an AUC of 0." in ended.stdout and "allow p = 0.600^k at best" in ended.stdout
    parts = (
        "Attacks",
        "Near-copies",
        "Controls of",
        "Worst case",
        "Strata",
        "Power",
        "Verdict: nothing refuted",
        "Evidence against: none",
    )
    assert all(f"\n{part}" in ended.stdout for part in parts) and "warning" not in ended.stdout
    assert "private" not in ended.stdout.lower() and max(map(len, ended.stdout.splitlines())) <= 100


def test_copies_are_withheld_with_reasons_page_and_exit_3(files):
    ended = call(files, "copied.csv", "--report", files / "page.html")
    assert ended.exit_code == 3, ended.output
    assert "Verdict: withheld" in ended.stdout and "- near-copies: " in ended.stdout
    assert "give --low and --high if it is public" in " ".join(ended.stdout.split())
    page = (files / "page.html").read_text()
    assert "Internal: reads real people." in page and "Verdict: withheld" in page and "Near-copies" in page


def test_json_holds_audit_and_verdict_and_another_seed_another_base(files):
    first, other = (json.loads(call(files, "made.csv", "--json", "--seed", seed).stdout) for seed in (0, 1))
    assert first["verdict"]["verdict"] == "released" and first["statement"] == "internal: reads real people"
    assert (first["genes"], first["labels"], first["audit"]["unit"]) == (30, ["B", "T"], "row")
    assert first["audit"]["near_copies"] != other["audit"]["near_copies"]


def test_a_base_of_its_own_spares_the_controls_and_more_genes_than_the_tables_do_no_harm(files):
    base = write(files, "base.csv", people(60, 4).assign(XIST=1.5))
    told = json.loads(call(files, "made.csv", "--json", "--base", base).stdout)["audit"]
    assert (told["members"], told["controls"], told["base"]) == (150, 150, 60)


def test_all_attacks_or_some_are_run_as_asked_with_a_reference_generator(files):
    every = json.loads(call(files, "made.csv", "--attacks", "all", "--json").stdout)
    assert [one["name"] for one in every["audit"]["attacks"]] == list(ATTACKS)
    asked = ("--attacks", "gan-leaks", "--reference", write(files, "other.csv", people(400, 6).assign(XIST=1.5)))
    some = json.loads(call(files, "made.csv", *asked, "--json").stdout)
    (found,), whole = some["audit"]["attacks"], every["audit"]["attacks"]
    assert some["files"]["reference"] == "other.csv"
    assert found["name"] == "gan-leaks" and found["auc"] != whole[1]["auc"]
    refused = call(files, "made.csv", "--attacks", "gan-leaks,lira")
    assert refused.exit_code == 2 and "attacks of closest-record, gan-leaks, domias" in refused.stderr


def test_strata_are_the_classes_and_whatever_columns_are_asked_for(files):
    """The first half of either cohort is at one site; one control has no site."""
    for name, seed in (("members.h5ad", 1), ("controls.h5ad", 2)):
        site = ["Graz"] * 75 + ["Linz"] * (75 - (seed == 2)) + [""] * (seed == 2)
        write(files, name, people(150, seed).assign(site=site))
    asked = {"controls": "controls.h5ad"}
    ended = call(files, "made.csv", "--strata", "site", **asked)
    text = " ".join(ended.stdout.split())
    assert ended.exit_code == 0 and "type B: AUC" in text and "site Graz: AUC" in text and "would be found" in text
    told = json.loads(call(files, "made.csv", "--strata", "site", "--json", **asked).stdout)["audit"]
    assert list(told["worst"]) == ["data"] and len(told["worst"]["data"]["effects"]) == 5
    assert {one["column"] for one in told["strata"]} == {"type", "site"}
    wrong = call(files, "made.csv", "--strata", "hospital", **asked)
    assert wrong.exit_code == 2 and "expected an obs column 'hospital', got none of that name" in wrong.stderr


def test_a_policy_of_ones_own_withholds(files):
    (files / "policy.toml").write_text('[audit.auc]\nmost = 0.01\nreason = "nothing passes"\n')
    ended = call(files, "made.csv", "--policy", files / "policy.toml")
    assert ended.exit_code == 3 and "exceeds the limit 0.01 (nothing passes)" in " ".join(ended.stdout.split())


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", r"a table \[audit\], got tables='none'"),
        ("[audit]\nacu = 1", "audit.acu: unknown key; did you mean 'auc'"),
    ],
)
def test_a_policy_that_is_none_is_refused(tmp_path, text, rule):
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(SpecError, match=rule):
        auditing.policy(tmp_path / "policy.toml")


def test_missing_genes_labels_and_a_donor_in_both_cohorts_are_one_line_and_exit_2(files):
    write(files, "few.csv", people(100, 5).drop(columns=["G3", "G4"]))
    ended = call(files, "made.csv", controls="few.csv")
    assert ended.exit_code == 2 and "2 only in" in ended.stderr and "(G3, G4)" in ended.stderr
    assert "--common compares the 28" in ended.stderr and ended.stderr.count("\n") == 1
    write(files, "strange.csv", people(50, 5).assign(type="Tcell"))
    assert "expected only labels of the real rows, got 'Tcell'" in call(files, "strange.csv").stderr
    for name in ("members.h5ad", "controls.h5ad"):
        write(files, name, people(20, 6).assign(who=[f"p{k}" for k in range(20)]))
    both = call(files, "made.csv", "--donor", "who", controls="controls.h5ad")
    assert both.exit_code == 2 and "expected nobody in both, got 20 donors" in both.stderr


def subtypes(path, n, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 6, (n, 3))
    frame = pd.DataFrame(x, columns=["XIST", "NKG7", "CD3E"]).assign(type=rng.choice(LABELS[:2], n))
    frame.to_csv(path)


def of_release(folder):
    """What asks for the audit of a release, with cohorts beside it."""
    members, controls = (folder.parent / name for name in ("members.csv", "controls.csv"))
    subtypes(members, 60, 1)
    subtypes(controls, 60, 2)
    return auditing.Asked(target=folder, members=members, controls=controls, how=Reading(label="type"), samples=300)


def test_a_release_is_verified_and_what_its_generator_draws_is_attacked_too(tmp_path):
    """The cohorts have a gene more than the release, and in another order."""
    folder = make(tmp_path / "release")
    asked = of_release(folder)
    found = auditing.run(asked)
    assert (found.audit.rows, found.audit.samples, found.genes, found.low, found.high) == (5, 300, 2, 0, 6)
    assert {each.name for each in found.audit.attacks} == {
        *(f"marginals: {name}" for name in GATE),
        *(f"linear: {name}" for name in STANDARD_ON_MODEL),
    }
    assert "whole and unaltered" in found.notes[0] and "300 rows drawn by marginals" in found.notes[1]
    (folder / "ledger.jsonl").write_text("{}\n")
    with pytest.raises(SpecError, match=r"as card\.json describes it"):
        auditing.run(asked)


def test_a_release_of_models_alone_is_attacked_by_their_losses(tmp_path):
    folder = make(tmp_path / "release", rows=False)
    asked = of_release(folder)
    found = auditing.run(asked)
    assert {each.name for each in found.audit.attacks} == {f"linear: {name}" for name in STANDARD_ON_MODEL}
    assert (found.genes, found.audit.rows, found.audit.near_copies) == (2, 0, ())
    with pytest.raises(SpecError, match="expected attacks of model-loss, model-loss-calibrated on a release of models"):
        auditing.run(replace(asked, attacks=("closest-record",)))
