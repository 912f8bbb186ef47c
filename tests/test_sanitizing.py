"""``fedgenome sanitize``: rows that hide their people are written, others are not; what is said of them; errors."""

import json

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

from fedgenome.audit.linkage import sanitized
from fedgenome.cli.main import app
from fedgenome.sanitize.guarantee import Guarantee
from fedgenome.sanitize.statement import APART, EXACT_LABELS
from fedgenome.secure.identity import Identity
from fedgenome.study import Sanitize, Schema

PEOPLE, GENES = 160, 30  # of whom chance alone finds one, and ten with a chance below 1e-6


@pytest.fixture
def sanitize(tmp_path):
    """Return a function that runs the command on a cohort of a row a person."""
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 12, (PEOPLE, GENES)).astype(np.float32)
    obs = {"obs_names": [f"p{i}" for i in range(PEOPLE)], "class": list("uv" * (PEOPLE // 2))}
    anndata.AnnData(X=x, obs=obs).write_h5ad(tmp_path / "people.h5ad")

    def run(*arguments, keep=10, kind="laplace"):
        files, whole = (str(tmp_path / name) for name in ("people.h5ad", "out.h5ad")), ("--low", 0, "--high", 12)
        asked = *whole, "--keep", keep, "--kind", kind, *arguments
        return CliRunner().invoke(app, ["sanitize", *files, *map(str, asked)])

    return run


def told(done):
    return json.loads(done.stdout)


def test_rows_that_hide_their_people_are_written_with_what_must_be_said_of_them(sanitize, tmp_path):
    done = sanitize("--epsilon", 0.1, "--json", kind="metric")
    assert done.exit_code == 0 and told(done)["verdict"]["verdict"] == "released"
    rows = anndata.read_h5ad(tmp_path / "out.h5ad")
    said = rows.uns["fedgenome"]
    assert rows.shape == (PEOPLE, GENES) and rows.X.min() >= 0 and rows.X.max() <= 12
    assert not set(rows.obs_names) & {f"p{i}" for i in range(PEOPLE)} and list(rows.obs.columns) == []
    assert said["epsilon"] == 0.1 and said["epsilon_times_diameter"] == pytest.approx(0.1 * np.sqrt(GENES), abs=0.01)
    assert APART in said["caution"] and EXACT_LABELS not in said["caution"]


@pytest.mark.parametrize("noise", [("--epsilon", 500), ()])
def test_rows_whose_people_are_recognised_are_withheld(sanitize, tmp_path, noise):
    done = sanitize(*noise)
    assert done.exit_code == 3 and not (tmp_path / "out.h5ad").exists()
    assert "withheld: nothing was written" in done.stdout


def test_a_policy_that_allows_it_has_them_written(sanitize, tmp_path):
    (tmp_path / "policy.toml").write_text('[audit.linkage]\nmost = 1.0\nreason = "these data are public"\n')
    assert sanitize("--epsilon", 500, "--policy", tmp_path / "policy.toml").exit_code == 0


def test_a_key_gives_the_same_rows_again_and_without_one_draws_are_new(sanitize, tmp_path):
    Identity.generate().save(tmp_path / "site.pem")
    files = []
    for arguments in (("--key", tmp_path / "site.pem"),) * 2 + ((),):
        sanitize("--epsilon", 0.1, *arguments)
        files.append(anndata.read_h5ad(tmp_path / "out.h5ad").X)
    assert (files[0] == files[1]).all() and (files[0] != files[2]).any()


def test_a_seed_promises_nothing(sanitize, tmp_path):
    done = sanitize("--epsilon", 0.1, "--seed", 3, "--json")
    assert told(done)["rows"]["epsilon"] is None
    first = (tmp_path / "out.h5ad").read_bytes()
    assert sanitize("--epsilon", 0.1, "--seed", 3).exit_code == 0 and (tmp_path / "out.h5ad").read_bytes() == first


def test_classes_leave_only_when_asked_for_and_the_card_says_whether_they_are_exact(sanitize, tmp_path):
    done = sanitize("--epsilon", 0.1, "--label", "class", "--class", "u", "--class", "v", "--json")
    assert EXACT_LABELS in told(done)["rows"]["caution"]
    assert set(anndata.read_h5ad(tmp_path / "out.h5ad").obs["label"]) == {"u", "v"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epsilon", 0.1, "--basis", "sine"), "sanitize: basis: Input should be 'dct' or 'haar'"),
        (("--epsilon", 0.1, "--labels-epsilon", 1), "expected --labels-epsilon only with --label"),
        (("--epsilon", 0.1, "--label", "class"), "expected --label with its --class, or neither"),
        (("--epsilon", 0.1, "--label", "class", "--class", "u"), "expected one of ('u',), got 'v'"),
        (("--epsilon", 0.1, "--seed", 1, "--key", "no.pem"), "expected --key or --seed, not both"),
    ],
)
def test_faults_are_said_in_one_line(sanitize, arguments, message):
    done = sanitize(*arguments)
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_more_coefficients_than_genes_are_refused(sanitize):
    assert "expected at most the 30 genes of the schema, got 31" in sanitize("--epsilon", 0.1, keep=31).stderr


def linked(released, x, owner, **changes):
    spec = Sanitize(**({"kind": "laplace", "keep": 10, "epsilon": 50.0} | changes))
    schema = Schema(genes=tuple(f"g{i}" for i in range(x.shape[1])), labels=("a",), high=1.0)
    return sanitized.linked(released, x, owner, Guarantee.of(spec, schema), np.random.default_rng(2))


def test_a_person_of_several_rows_is_found_by_any_of_them():
    x = np.random.default_rng(3).random((40, 12))
    owner = np.repeat(np.arange(20), 2)
    swapped = x[np.arange(40) ^ 1]  # each row released as the same person's other one
    found = linked(swapped, x, owner)
    assert (found.judged, found.candidates, found.worst.estimate) == (20, 20, 1.0)
    assert linked(np.roll(x, 2, axis=0), x, owner).worst.estimate == 0  # as the neighbour's


def test_people_whose_kept_coefficients_are_alike_make_the_audit_void():
    x = np.tile(np.random.default_rng(4).random((1, 12)), (40, 1))
    assert [check.kind for check in linked(x, x, np.arange(40)).void] == ["positive"]


def test_an_attacker_who_would_take_too_long_is_left_out_and_named(monkeypatch):
    x = np.random.default_rng(5).random((40, 12))
    assert not linked(x, x, np.arange(40)).left_out
    monkeypatch.setattr(sanitized, "_MOST", 40 * 40 * 10 - 1)
    assert list(linked(x, x, np.arange(40)).left_out) == [sanitized.LIKELIEST]
