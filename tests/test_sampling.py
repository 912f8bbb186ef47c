"""Rows from a release folder: verified first, labels as asked or as paid for, and a file that says what it is."""

import hashlib
import json
from dataclasses import replace

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.errors import SpecError
from fedgenome.sampling import Counts, Wish, sample
from tests.small_release import make

WISH = Wish(rows=400, labels={}, seed=5)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made") / "release")


def test_labels_are_drawn_from_the_paid_shares_where_none_is_asked(release):
    rows = sample(release, WISH).of_labels()
    assert rows["Her2"] == 0 and sum(rows.values()) == 400
    assert abs(rows["Basal"] - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)  # false alarm 6e-5


def test_labels_asked_for_are_met_and_the_rest_is_drawn_from_the_others(release):
    assert sample(release, replace(WISH, labels={"Basal": 300})).of_labels() == {"Basal": 300, "LumA": 100, "Her2": 0}
    exact = {"Her2": 150, "LumA": 250}
    made = sample(release, replace(WISH, labels=exact))
    assert made.of_labels() == {"Basal": 0, **exact}
    luma = made.rows.x[made.rows.label == 1]
    assert np.all((luma > 1.5) & (luma <= 2.5))  # its own bin, of the default edges


def test_same_seed_writes_the_same_bytes_and_another_seed_other_rows(release, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        sample(release, replace(WISH, seed=seed)).write(tmp_path / name)
    one, two, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert one == two != other and sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_the_file_says_that_it_is_synthetic_and_of_which_release(release, tmp_path):
    sample(release, WISH).write(tmp_path / "table.h5ad")
    table = anndata.read_h5ad(tmp_path / "table.h5ad")
    told = table.uns["fedgenome"]
    assert told["release"] == hashlib.sha256((release / "card.json").read_bytes()).hexdigest()
    card = json.loads((release / "card.json").read_text())
    assert (told["method"], told["epsilon"], told["seed"]) == ("marginals", card["guarantee"]["epsilon"], 5)
    assert bool(told["synthetic"]) and "ε" in told["guarantee"]
    assert table.shape == (400, 2) and set(table.obs["label"]) == {"Basal", "LumA"}


def test_counts_are_whole_and_of_the_public_size(release):
    made = sample(release, replace(WISH, rows=2000, counts=Counts(size=500.0, dispersion=0.1)))
    expected = np.expm1(sample(release, replace(WISH, rows=2000)).rows.x) * 500 / 1e4
    assert np.array_equal(made.rows.x, np.floor(made.rows.x))
    assert made.rows.x.mean() == pytest.approx(expected.mean(), rel=0.1)
    assert made.marks["values"] == "counts, negative binomial" and made.marks["size"] == 500.0


@pytest.mark.parametrize(
    ("wish", "rule"),
    [
        ({"labels": {"Lum": 3}}, "a label of the release, got 'Lum'.*LumA"),
        ({"labels": {"zzz": 3}}, "it has Basal, LumA, Her2"),
        ({"labels": {"Basal": 300, "LumA": 200}}, "at most the 400 rows of -n in all, got rows=500"),
        ({"labels": {"Basal": 1, "LumA": 2}}, r"or other labels to draw the rest from \(Her2\)"),
        ({"rows": 0}, "-n: at least one row"),
        ({"method": "marginal"}, "did you mean 'marginals'"),
        ({"method": "linear"}, "'linear' tells labels"),
        ({"counts": Counts(size=0.0)}, "--size above 0"),
    ],
)
def test_what_the_release_cannot_give_is_refused_with_what_it_has(release, wish, rule):
    with pytest.raises(SpecError, match=rule):
        sample(release, replace(WISH, **wish))


def test_counts_of_another_scale_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"log1p\(counts to 1e4 a row\).*9.21.*high=20.0"):
        sample(make(tmp_path / "release", high=20.0), replace(WISH, counts=Counts()))


def test_an_altered_release_is_refused(release, tmp_path):
    copy = tmp_path / "release"
    copy.mkdir()
    for path in release.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    card = json.loads((copy / "card.json").read_text())
    card["study"]["spec"]["schema"]["labels"] = ["a", "b", "c"]
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(SpecError, match="the card was altered"):
        sample(copy, WISH)
    (copy / "model.safetensors").write_bytes(b"other")
    with pytest.raises(SpecError, match=r"as card\.json describes it"):
        sample(copy, WISH)


def test_command_writes_tells_and_errs_in_one_line(release, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(app, ["sample", str(release), *map(str, arguments)])

    out = tmp_path / "table.h5ad"
    asked = ("--label", "Basal=2", "--label", "LumA=8", "--out", out)
    told = json.loads(call(*asked, "--json").stdout)
    assert told["rows"] == {"Basal": 2, "LumA": 8, "Her2": 0} and out.exists()
    assert "Basal 2, LumA 8" in call(*asked).stdout
    for bad, rule in (
        (("-n", "9", *asked), "at most the 9 rows of -n"),
        (("--label", "Basal", "--out", out), "expected NAME=ROWS, such as Basal=200, got 'Basal'"),
        (("-n", "9", "--out", tmp_path / "no" / "table.h5ad"), "--out: a folder"),
    ):
        ended = call(*bad)
        assert ended.exit_code == 2 and rule in ended.stderr and ended.stderr.count("\n") == 1
