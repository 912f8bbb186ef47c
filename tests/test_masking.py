"""``fedgenome mask``: what passes is written, what does not is not; lists of every form; errors of one line."""

import json

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from tests.test_masked import VARIANTS, ended, listed

__all__ = ["listed"]


@pytest.fixture
def mask(listed, tmp_path):
    """Return a function that runs the command on the cohort of two looks."""
    listed(1)
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in reversed(VARIANTS)))

    def run(*arguments, panel=True):
        second = ("--panel", "panel.h5ad") if panel else ()
        return CliRunner().invoke(app, ["mask", "people.h5ad", "-o", "out.h5ad", *second, *map(str, arguments)])

    return run


def test_a_variant_passes_and_is_written(mask, tmp_path):
    done = mask("--list", "list.txt", "--keep", 1, "--json")
    told, rows = json.loads(done.stdout), anndata.read_h5ad(tmp_path / "out.h5ad")
    assert done.exit_code == 0 and told["told"] == [VARIANTS[-1]] and told["verdict"]["verdict"] == "released"
    assert set(np.unique(rows.X[:, :-1])) == {-2} and (rows.X[:, -1] >= 0).all() and rows.shape == (300, 30)
    assert not set(rows.obs_names) & {f"p{i}" for i in range(300)} and list(rows.obs.columns) == []


def test_a_list_that_finds_people_is_refused_and_nothing_is_written(mask, tmp_path):
    done = mask("--list", "list.txt")
    assert done.exit_code == 3 and not (tmp_path / "out.h5ad").exists()
    assert "withheld: nothing was written" in done.stdout and "no differential privacy covers them" in done.stdout


def test_a_release_of_a_run_is_a_list_whose_highest_scores_are_a_shorter_one(mask, listed, tmp_path):
    path = ended(listed(30)).path
    done = mask("--list", path, "--keep", 1, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["told"] == [VARIANTS[0]]


def test_without_a_list_variants_are_drawn_by_the_seed_alone(mask):
    one, two, other = (json.loads(mask("--keep", 1, "--seed", s, "--json").stdout)["told"] for s in (0, 0, 1))
    assert one == two != other


def test_without_a_panel_the_output_says_that_the_second_look_is_simulated(mask):
    assert "a second look simulated from the rows themselves, 5.00%" in " ".join(
        mask("--keep", 1, "--error", 0.05, panel=False).stdout.split()
    )


def test_classes_leave_only_when_asked_for_and_attackers_know_them(mask, tmp_path):
    done = mask("--keep", 1, "--label", "label", "--json")
    assert "who tell their class" in json.loads(done.stdout)["linkage"]["panel"]
    if done.exit_code == 0:
        assert set(anndata.read_h5ad(tmp_path / "out.h5ad").obs["label"]) == {"u", "v"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected --list, --keep or both"),
        (("--keep", 99), "expected --keep of 1 to 30, got keep=99"),
        (("--list", "list.txt", "--keep", 99), "expected --keep of 1 to 30, as many as the list has"),
        (("--list", "absent.txt"), "panel 'absent.txt'"),
        (("--keep", 1, "--share", 2), "linkage: share: Input should be less than 1"),
        (("--keep", 1, "--panel-id", "who"), "panel.h5ad: expected an obs column 'who'"),
    ],
)
def test_what_does_not_fit_is_one_line(mask, arguments, message):
    done = mask(*arguments)
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1
