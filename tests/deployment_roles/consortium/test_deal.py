"""A dealt cohort: hospitals read from their files what one process would have handed them."""

import anndata
import numpy as np
import pytest
from typer.testing import CliRunner

from fedgenome import experiment, folders
from fedgenome.cli.main import app
from fedgenome.cohort import expression
from fedgenome.cohort.expression import CohortSpec
from fedgenome.cohort.split import SplitSpec, split
from fedgenome.deployment.consortium import deal
from fedgenome.errors import SpecError
from fedgenome.streams import Root


@pytest.fixture
def quickstart(repository):
    return experiment.load(repository / "experiments" / "quickstart.toml")


@pytest.fixture
def donors(quickstart, tmp_path):
    """An experiment on 40 donors of one to three rows, whose names sort otherwise than their numbers."""
    rng = np.random.default_rng(5)
    owner = [f"d{i}" for i in range(40) for _ in range(1 + i % 3)]
    obs = {
        "obs_names": [f"cell{i}" for i in range(len(owner))],
        "who": owner,
        "type": rng.choice(["a", "b"], len(owner)),
    }
    x = rng.normal(1, 2, (len(owner), 6)).astype(np.float32)
    order = rng.permutation(len(owner))
    anndata.AnnData(X=x, obs=obs, var={"var_names": [f"G{i}" for i in range(6)]})[order].copy().write_h5ad(
        tmp_path / "c.h5ad"
    )
    fields = {"source": str(tmp_path / "c.h5ad"), "label": "type", "labels": ("b", "a", "never"), "donor": "who"}
    cohort = CohortSpec(**fields, scale="log", high=3.0, public=True)
    return quickstart.model_copy(update={"cohort": cohort, "split": SplitSpec(sites=3), "seed": None})


def read_back(spec, path):
    """The shard that a hospital with this file and the Study's schema holds."""
    schema = expression.schema_of(expression.read(spec.cohort), spec.cohort)
    donor = deal.DONOR if schema.unit == "donor" else None
    public = {"labels": schema.labels, "low": schema.low, "high": schema.high, "panel": schema.genes}
    own = CohortSpec(source=str(path), label=deal.LABEL, donor=donor, layer="X", scale="log", **public)
    cohort = expression.align(expression.read(own), schema)
    return split(cohort, SplitSpec(sites=1, controls=0), np.random.default_rng()).sites["site-1"]


def same(a, b):
    arrays = all(getattr(a, n).tobytes() == getattr(b, n).tobytes() for n in ("x", "label", "donor", "mask"))
    return arrays and a.donors == b.donors and a.x.shape == b.x.shape


@pytest.mark.parametrize("which", ["quickstart", "donors"])
def test_a_shard_read_back_is_the_splits_shard_byte_for_byte(which, request, tmp_path):
    spec = request.getfixturevalue(which)
    written = deal.deal(spec, tmp_path / "out")
    root = deal.root(deal.load(tmp_path / "out" / deal.DEAL), seeded=False)
    dealt = split(expression.read(spec.cohort), spec.split, root.stream("split").generator())
    assert list(written) == list(dealt.sites)
    assert all(same(read_back(spec, written[site]), shard) for site, shard in dealt.sites.items())
    assert not same(dealt.sites["site-1"], dealt.sites["site-2"])


def test_a_seeded_deal_is_that_of_a_run_in_one_process(quickstart, tmp_path):
    seeded = quickstart.model_copy(update={"seed": 7})
    deal.deal(seeded, tmp_path / "out")
    _, key = folders.reserve(7)
    assert deal.load(tmp_path / "out" / deal.DEAL) == key
    rng = Root(bytes.fromhex(key), seeded=True).stream("split").generator()
    local = split(expression.read(seeded.cohort), seeded.split, rng)  # as prepare.prepare deals
    assert same(read_back(seeded, tmp_path / "out" / "site-3.h5ad"), local.sites["site-3"])


def test_a_cohort_that_is_not_public_is_not_dealt(donors, tmp_path):
    private = donors.model_copy(update={"cohort": donors.cohort.model_copy(update={"public": False})})
    with pytest.raises(SpecError, match="expected a public cohort"):
        deal.deal(private, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_dealt_twice_and_a_deal_is_32_bytes_of_hex(donors, tmp_path):
    deal.deal(donors, tmp_path / "out")
    with pytest.raises(SpecError, match="expected no earlier deal"):
        deal.deal(donors, tmp_path / "out")
    (tmp_path / "short").write_text("ab")
    with pytest.raises(SpecError, match="short: expected 64 hex digits"):
        deal.load(tmp_path / "short")


def test_deal_from_the_command_line_names_every_file(repository, tmp_path):
    done = CliRunner().invoke(app, ["deal", str(repository / "experiments/quickstart.toml"), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"deal", *(f"site-{i}.h5ad" for i in range(1, 6))}
    assert f"site-5          {tmp_path / 'out' / 'site-5.h5ad'}" in done.stdout
