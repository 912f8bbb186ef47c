"""What an experiment becomes before anything runs, under each trust model."""

from pathlib import Path

import numpy as np
import pytest

from fedgenome import experiment, prepare, run
from fedgenome.console import table
from fedgenome.errors import SpecError
from fedgenome.prices import prices
from fedgenome.study import MethodSpec

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def prepared(name="quickstart_local", kind=None, options=None, **privacy):
    """Prepare an experiment, with one method only or other privacy settings."""
    spec = experiment.load(EXPERIMENTS / f"{name}.toml")
    methods = [m for m in spec.methods if kind in (None, m.kind)]
    if options is not None:
        methods = [m.model_copy(update={"options": {**m.options, **options}}) for m in methods]
    changed = {"methods": tuple(methods), "privacy": spec.privacy.model_copy(update=privacy)}
    if kind:
        changed["release"] = spec.release.model_copy(update={"generator": kind})
    return prepare.prepare(spec.model_copy(update=changed), np.random.default_rng(0))


def test_local_is_calibrated_to_epsilon_with_all_noise_at_home_whoever_colludes():
    found = prepared()
    assert 9.9 < found.epsilon <= 10 and found.epsilon_colluding == found.epsilon
    assert {m.where for m in found.plan.mechanisms} == {"home"}
    assert found.queries == {"marginals": 1, "cvae": 51}
    assert [(p.queries, p.steps) for p in prices(found).parts] == [(1, 1), (1, 1), (52, 2)]  # reserve: 4 of 104


def test_local_prices_steps_as_the_same_number_of_queries_of_the_parties():
    here, there = (prepared(name, retries=0.04) for name in ("quickstart_local", "quickstart"))  # 2 rounds; 4 steps
    levels = [[m.level for m in found.plan.mechanisms] for found in (here, there)]
    assert levels[0] == pytest.approx(levels[1])  # 100 steps: a site's part costs what the union's does
    assert there.queries == {"marginals": 1, "cvae": 101} and there.epsilon_colluding > there.epsilon


def test_site_is_calibrated_without_sampling_and_dearer_if_two_collude():
    found = prepared(kind="cvae", trust="site")
    assert {(m.sampling, m.where) for m in found.plan.mechanisms} == {(1.0, "parties")}
    assert found.epsilon <= 10 < found.epsilon_colluding


def test_table_says_whom_the_trust_model_protects_from_and_warns():
    site, local = (table(prices(prepared(kind="cvae", trust=trust))) for trust in ("site", "local"))
    assert "all data of one site replaced by none" in site and "Warning: trust 'site' with 5 sites" in " ".join(
        site.split()
    )
    assert "Holds whichever parties collude" in local and "× 2 steps" in local and "Warning" not in local


def test_auto_becomes_a_named_method_of_the_study_and_the_plan_says_why():
    spec = experiment.load(EXPERIMENTS / "quickstart.toml")
    changed = {"methods": (MethodSpec(kind="auto"),), "release": spec.release.model_copy(update={"generator": "auto"})}
    found = prepare.prepare(spec.model_copy(update=changed), np.random.default_rng(0))
    (method,) = found.study.methods
    assert method.label == "auto" and method.kind == found.choices["auto"].kind in ("inverted", "gaussian")
    assert f"Chosen: methods.auto: {method.kind}, as donors · ε" in " ".join(table(prices(found)).split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "marginals", "trust": "site"}, r"methods\.marginals: trust 'site' needs .* expected kind cvae"),
        (
            {"kind": "cvae", "trust": "site", "options": {"local_steps": None}},
            "expected kind cvae, deeptype or language with options.local_steps",
        ),
        ({"kind": "cvae", "trust": "distributed"}, r"methods\.cvae\.options\.local_steps: expected trust 'local' or"),
    ],
)
def test_a_method_that_has_no_form_under_the_trust_model_is_refused_with_a_remedy(change, message):
    with pytest.raises(SpecError, match=message):
        prepared(**change)


def test_ledgers_kept_over_runs_refuse_a_split_that_deals_donors_anew(tmp_path):
    spec = experiment.load(EXPERIMENTS / "quickstart.toml")
    engine = spec.engine.model_copy(update={"ledgers": tmp_path})
    missing = spec.cohort.model_copy(update={"source": "no such file"})  # refused before anything is read
    with pytest.raises(SpecError, match=r"^engine\.ledgers: expected split\.by = 'column', got 'dirichlet'"):
        prepare.prepare(spec.model_copy(update={"engine": engine, "cohort": missing}), np.random.default_rng(0))


# ---- Who makes the synthetic rows --------------------------------------------------------------------------

CVAE = MethodSpec(kind="cvae", options={"rounds": 2, "hidden": 4})
LINEAR = MethodSpec(kind="linear", options={"rounds": 2})


def with_methods(*methods, generator=None):
    spec = experiment.load(EXPERIMENTS / "quickstart.toml")
    release = spec.release.model_copy(update={"generator": generator})
    changed = spec.model_copy(update={"methods": methods, "release": release})
    return prepare.prepare(changed, np.random.default_rng(0))


def test_a_classifier_that_tells_losses_needs_no_generator_beside_it():
    assert run.generator_of(with_methods(LINEAR)) is None


@pytest.mark.parametrize(("named", "chosen"), [(None, "cvae"), ("again", "again")])
def test_the_generator_is_the_one_named_or_the_first_method_that_generates(named, chosen):
    found = with_methods(LINEAR, CVAE, CVAE.model_copy(update={"name": "again"}), generator=named)
    assert run.generator_of(found) == chosen


@pytest.mark.parametrize(
    ("methods", "told"), [((LINEAR,), "such as marginals or cvae"), ((LINEAR, CVAE), "one of cvae")]
)
def test_what_generates_nothing_is_no_generator_and_is_priced_all_the_same(methods, told):
    found = with_methods(*methods, generator="linear")
    rule = rf"^release\.generator: expected a method that generates rows \({told}\), got linear$"
    with pytest.raises(SpecError, match=rule):
        run.generator_of(found)
    assert prices(found).parts[0].method == "linear"


def test_study_has_the_genes_that_were_drawn_and_sites_by_a_power_law(tmp_path):
    text = (EXPERIMENTS / "quickstart_local.toml").read_text()
    text = text.replace("[split]", "genes = { random = 12, seed = 3 }\nfill = 1.0\n\n[split]", 1)
    text = text.replace('by = "dirichlet"', 'by = "power"\nleast = 5\nexponent = 2.0', 1)
    (tmp_path / "drawn.toml").write_text(text)
    found = prepare.prepare(experiment.load(tmp_path / "drawn.toml"), np.random.default_rng(0))
    schema, sizes = found.study.schema_, [shard.n_donors for shard in found.split.sites.values()]
    assert schema.panel == "12 of blood_markers, by seed 3" and 0 < len(schema.genes) <= 12
    assert schema.fill == 1.0 and sizes == sorted(sizes, reverse=True) and sizes[-1] < 20 < 300 < sizes[0]
