"""Tables from files: the same genes by name, labels, scale, or one clear error; and the command on top."""

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.errors import SpecError
from fedgenome.tables import Reading
from fedgenome.utility import metrics, tables
from fedgenome.utility.tables import Files

HOW = Reading(label="subtype")
GENES = ["CD3E", "NKG7", "ACTB", "MS4A1"]


def write(path, n=30, seed=0, genes=GENES, column="label", labels=("B", "T"), **changes):
    rng = np.random.default_rng(seed)
    code = np.arange(n) % len(labels)
    x = rng.normal(3 + 2.0 * code[:, None], 0.5, (n, len(genes))).clip(0)
    obs = pd.DataFrame({column: np.array(labels)[code]}, index=[f"row-{k}" for k in range(n)])
    data = ad.AnnData(changes.get("x", x), obs, pd.DataFrame(index=genes))
    data.write_h5ad(path)
    return path


@pytest.fixture
def files(tmp_path):
    real = write(tmp_path / "real.h5ad", n=40, column="subtype")
    return Files(real=real, synthetic=write(tmp_path / "made.h5ad", seed=1), how=HOW)


def test_genes_are_matched_by_name_in_the_real_order(files, tmp_path):
    turned = ad.read_h5ad(files.synthetic)[:, GENES[::-1]].copy()
    turned.write_h5ad(tmp_path / "turned.h5ad")
    straight, given = tables.read(files), tables.read(replace(files, synthetic=tmp_path / "turned.h5ad"))
    assert given.genes == tuple(GENES) and given.labels == ("B", "T")
    assert np.array_equal(given.synthetic.x, straight.synthetic.x)


def test_other_genes_are_refused_unless_the_common_ones_are_asked_for(files, tmp_path):
    other = replace(files, synthetic=write(tmp_path / "other.h5ad", genes=["ACTB", "CD3E", "GAPDH", "XIST", "RPL3"]))
    with pytest.raises(
        SpecError, match=r"2 only in .*real.h5ad \(MS4A1, NKG7\); 3 only in .*other.h5ad .*the 2 that all"
    ):
        tables.read(other)
    assert tables.read(replace(other, how=replace(HOW, common=True))).genes == ("CD3E", "ACTB")
    none = replace(files, synthetic=write(tmp_path / "none.h5ad", genes=["XIST"]), how=replace(HOW, common=True))
    with pytest.raises(SpecError, match="genes that all files share"):
        tables.read(none)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"labels": ("B", "Tcell")}, r"only labels of the real rows, got 'Tcell' \(.*B, T"),
        ({"column": "type"}, "an obs column 'subtype' or 'label' of classes"),
        ({"x": np.arange(120).reshape(30, 4)}, "made2.h5ad holds whole counts and .*real.h5ad does not; --counts"),
        ({"x": np.full((30, 4), np.nan)}, "expected finite values"),
    ],
)
def test_what_does_not_fit_is_one_error(files, tmp_path, change, rule):
    bad = replace(files, synthetic=write(tmp_path / "made2.h5ad", **change))
    with pytest.raises(SpecError, match=rule):
        tables.read(bad)


def test_counts_are_scaled_as_a_cohorts_are(files, tmp_path):
    cells = np.random.default_rng(2).poisson(30, (30, 4))
    given = tables.read(
        replace(files, synthetic=write(tmp_path / "cells.h5ad", x=cells), how=replace(HOW, counts=True))
    )
    assert given.synthetic.x == pytest.approx(np.log1p(cells * (1e4 / cells.sum(axis=1, keepdims=True))))


def test_genotypes_are_judged_as_dosages_without_a_flag_and_beside_nothing_else(files):
    data = ad.read_h5ad(files.real)
    data.X = np.random.default_rng(2).integers(0, 3, data.X.shape).astype(np.int8)
    data.uns["genotypes"] = {"coding": "dosage", "selected": "share not called <= 0.1"}
    data.write_h5ad(files.real)
    with pytest.raises(SpecError, match=r"made\.h5ad.*expected .*dosages 0, 1 or 2"):
        tables.read(files)
    made = ad.read_h5ad(files.synthetic)
    made.X = np.random.default_rng(3).integers(0, 3, made.X.shape).astype(np.float32)  # and does not say so
    made.write_h5ad(files.synthetic)
    given = tables.read(files)
    assert given.dosages and np.array_equal(given.real.truth.x, data.X)


def test_a_holdout_alone_makes_the_real_rows_training_rows(files, tmp_path):
    held = write(tmp_path / "held.h5ad", n=10, seed=3, column="subtype")
    alone, both = tables.read(replace(files, holdout=held)), tables.read(replace(files, train=held, holdout=held))
    assert (len(alone.real.train), len(alone.real.truth), alone.real.holdout) == (40, 10, None)
    assert (len(both.real.train), len(both.real.truth), len(both.real.holdout)) == (10, 40, 10)


def test_donors_are_kept(files, tmp_path):
    data = ad.read_h5ad(files.real)
    data.obs["person"] = [f"p{k // 4}" for k in range(40)]
    data.write_h5ad(files.real)
    assert len(tables.read(replace(files, how=replace(HOW, donor="person"))).real.truth.units) == 10


@pytest.fixture
def small(monkeypatch, quick):
    """The command's --quick, with smaller forests and one repeat."""
    monkeypatch.setattr(metrics, "QUICK", replace(quick, repeats=1))


def call(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_command_prints_a_line_a_figure_and_marks_itself_internal(files, tmp_path, small):
    ended = call(files.real, files.synthetic, "--label", "subtype", "--quick", "--out", tmp_path / "page.html")
    assert ended.exit_code == 0, ended.stderr
    assert "internal: computed from real people" in ended.stdout and "needs the rows that the table" in ended.stdout
    assert sum("DE: true positives" in line for line in ended.stdout.splitlines()) == 1
    assert "truth real.h5ad (40 rows)" in ended.stdout
    page = (tmp_path / "page.html").read_text()
    assert "Internal: computed from real people" in page and "co-expression &gt; 0.5: recall" in page


def test_command_in_json_and_its_errors(files, small):
    told = json.loads(
        call(files.real, files.synthetic, "--label", "subtype", "--quick", "--seed", "3", "--json").stdout
    )
    assert (told["seed"], told["genes"], told["labels"]) == (3, 4, ["B", "T"])
    assert told["files"] == {"synthetic": "made.h5ad", "truth": "real.h5ad"}
    ended = call(files.real, files.synthetic, "--label", "subtpe")
    assert ended.exit_code == 2 and "did you mean 'subtype'?" in ended.stderr and ended.stderr.count("\n") == 1
