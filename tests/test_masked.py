"""A run with a masking method, end to end: masked rows and their list leave if few are found, and say what they are."""

import json
from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from fedgenome import experiment, masked, prepare, release, run
from fedgenome.audit.linkage import learned
from fedgenome.audit.linkage.judge import ROWS
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.streams import Root

VARIANTS = [f"1:{100 * i}:A:G" for i in range(1, 31)]
TOML = """
name = "listed"
seed = 3
[cohort]
source = "{folder}/people.h5ad"
label = "label"
labels = ["u", "v"]
donor = "donor"
scale = "dosage"
high = 2.0
fill = 0.0
public = true
[split]
sites = 2
by = "even"
controls = 0.3
[caps]
site_cap = 240
donors_bound = 480
[privacy]
trust = "none"
[engine]
secure = "off"
[linkage]
panel = "{folder}/panel.h5ad"
share = 0.3
label = false
[[methods]]
kind = "listed"
options = {{ keep = {keep} }}
"""


@dataclass(frozen=True)
class Listed:
    """Asks what marginals ask, and tells the first so many variants."""

    inner: Any
    keep: int

    def __getattr__(self, name):
        if name in ("sample", "label_weights", "inner"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def at(self, noise):
        return Listed(self.inner.at(noise), self.keep)

    def release(self, state):
        genes = len(self.inner.schema.genes)
        told = (np.arange(genes) < self.keep).astype(np.float32)
        return {"told": told, "score": -np.arange(genes, dtype=np.float32)}

    def masked(self, arrays, x):
        return np.where(arrays["told"] > 0, x, np.nan).astype(np.float32)


def build(spec, schema, bound, private):
    options = {"edges": [0.0, 1.0]}
    inner = registry.KINDS["marginals"](spec.model_copy(update={"options": options}), schema, bound, private)
    return Listed(inner, int(spec.options["keep"]))


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Return a function that writes an experiment of two looks at 300 people, keeping so many variants."""
    monkeypatch.setattr(registry, "KINDS", {**registry.KINDS, "listed": build})
    monkeypatch.setattr(learned, "STEPS", 3)  # what networks find is tested where they are
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    true = rng.binomial(2, 0.4, (300, 30)).astype(np.int8)
    wrong = rng.random(true.shape) < 0.02
    look = np.where(wrong, (true + 1) % 3, true).astype(np.int8)
    names = [f"p{i}" for i in range(300)]
    obs = pd.DataFrame({"donor": names, "label": rng.choice(["u", "v"], 300)}, index=names)
    for name, x in (("people", look), ("panel", true)):
        data = anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=VARIANTS))
        data.uns["genotypes"] = {"coding": "dosage", "selected": ""}
        data.write_h5ad(tmp_path / f"{name}.h5ad")

    def write(keep, *changes):
        text = TOML.format(folder=tmp_path, keep=keep)
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "listed.toml"
        path.write_text(text)
        return path

    return write


def ended(path):
    return run.run(experiment.load(path), path, path.parent / "runs")


def test_a_short_list_leaves_with_masked_rows_and_says_that_rows_of_people_do(listed):
    outcome = ended(listed(1))
    names = {path.name for path in outcome.path.iterdir()}
    assert outcome.verdict == "released" and {"masked.h5ad", "list.txt"} <= names and "synthetic.h5ad" not in names
    card = json.loads((outcome.path / "card.json").read_text())
    assert (
        ROWS in card["alerts"]
        and card["guarantee"]["statement"] == outcome.statement
        and "no differential privacy covers" in outcome.statement
    )
    assert json.loads((outcome.path / "audit.json").read_text())["alerts"] == [ROWS]
    assert card["risk"]["assessed"]["linkage"] == "yes, among a second panel of named people"
    assert set(release.load(outcome.path).arrays["listed"]) == {"told", "score"}
    rows = anndata.read_h5ad(outcome.path / "masked.h5ad")
    assert rows.shape == (210, 30) and set(np.unique(rows.X[:, 1:])) == {-2} and (rows.X[:, 0] >= 0).all()
    assert list(rows.obs.columns) == [] and not rows.uns["fedgenome"]["synthetic"]


def test_a_long_list_is_withheld_and_the_report_has_every_attacker(listed):
    outcome = ended(listed(30))
    assert (outcome.verdict, outcome.exit_code, outcome.path.name) == ("withheld", 3, "candidate")
    told = json.loads((outcome.report.parent / "audit.json").read_text())
    assert told["linkage"]["worst"]["estimate"] > 0.9 and "upper bound" in told["verdict"]["reasons"][0]
    page = outcome.report.read_text()
    assert "likelihood matcher" in page and "left out" in page and ROWS in page


def test_the_same_seed_gives_the_same_masked_release(listed):
    path = listed(1)
    one, two = ended(path), ended(path)
    for name in ("masked.h5ad", "card.json", "list.txt", "model.safetensors"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


def test_without_a_panel_the_second_look_is_simulated_and_the_card_says_so(listed):
    outcome = ended(listed(1, ('panel = "', '# panel = "')))
    card = json.loads((outcome.path / "card.json").read_text())
    assert (
        "a second look simulated from the rows themselves, 1.00% of genotypes wrong"
        in card["risk"]["assessed"]["linkage"]
    )


def test_a_panel_of_strangers_is_refused_before_anything_is_asked(listed, tmp_path):
    data = anndata.read_h5ad(tmp_path / "panel.h5ad")
    data.obs_names = [f"stranger {name}" for name in data.obs_names]
    data.write_h5ad(tmp_path / "panel.h5ad")
    with pytest.raises(SpecError, match=r"^linkage: expected people of both files.*got 0 in both"):
        ended(listed(1))
    assert not (tmp_path / "runs").exists()


def test_where_nobodys_rows_are_at_hand_the_list_leaves_alone_and_is_not_audited(listed):
    text = listed(2).read_text().split("[cohort]")[0], listed(2).read_text().split("[caps]")[1]
    schema = f'[schema]\ngenes = {VARIANTS}\nlabels = ["u", "v"]\ndosages = true\nhigh = 2.0\nunit = "donor"\n[caps]'
    path = listed(2)
    path.write_text(text[0] + schema + text[1])
    prepared = prepare.without_cohort(experiment.load(path), {"a": 9, "b": 9})
    root = Root.of(1, "driver")
    masked.check(prepared, root)
    made = masked.masked(prepared, "listed", {"told": np.arange(30) < 2}, root)
    card = {"guarantee": {"epsilon": None, "absent": ""}, "study": {"digest": ""}}
    assert made.linkage is None and made.files(card)["list.txt"].decode().split() == VARIANTS[:2]


def test_rows_are_masked_or_generated_not_both(listed):
    path = listed(1, ("[[methods]]", '[[methods]]\nkind = "marginals"\n[[methods]]'))
    with pytest.raises(SpecError, match="expected one method that masks rows, or methods that generate"):
        ended(path)
