"""``fedgenome audit --canaries``: a released language model, and who was planted in what it was trained on."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fedgenome.card import Facts, build_card
from fedgenome.cli.main import app
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.planted import read
from fedgenome.privacy.coins import DonorNormals
from fedgenome.release import write_candidate
from fedgenome.streams import Root
from fedgenome.study import Plan, Study
from fedgenome.synthesis import synthesize

LENGTH = 12
RNG = np.random.default_rng(7)
MEMBERS, CONTROLS = RNG.integers(0, 4, (40, LENGTH)), RNG.integers(0, 4, (60, LENGTH))
CANARIES, REPEATS = RNG.integers(0, 4, (16, 8)), np.repeat([0, 16], 8)


def study():
    return Study.model_validate(
        {
            "name": "letters",
            "schema": {"genes": [f"p{i}" for i in range(LENGTH)], "labels": ["all"], "tokens": {}, "unit": "donor"},
            "methods": [{"kind": "language", "options": {"width": 32, "layers": 1, "rounds": 80, "rate": 0.04}}],
            "privacy": {"trust": "none"},
            "donors_bound": 400,
            "quorum": 1,
            "roster": [{"name": "site-1", "cap": 400}],
        }
    )


def trained(method, windows):
    n = len(windows)
    shard = Shard(
        x=windows.astype(np.float32),
        label=np.zeros(n, np.int64),
        donor=np.arange(n),
        donors=tuple(map(str, range(n))),
        mask=np.ones(n, bool),
    )
    state, draws = method.start(np.random.default_rng(0)), DonorNormals(Root.simulation(1, "planted"), ())
    while (question := method.ask(state)) is not None:
        state = method.learn(state, question, method.answer(question, shard, draws).value)
    return method.release(state)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A release of a model that knows its members by heart, canaries among them, and the files to audit it with."""
    where, spec = tmp_path_factory.mktemp("planted"), study()
    method = registry.build_all(spec)["language"]
    planted = np.repeat(CANARIES, REPEATS, axis=0)
    windows = np.hstack([planted, RNG.integers(0, 4, (len(planted), LENGTH - 8))])
    arrays = trained(method, np.vstack([MEMBERS, windows]))
    facts = Facts(
        study=spec,
        plan=Plan(),
        queries={"language": 80},
        engine="local",
        seeded=False,
        gate_reads_people=True,
        epsilon=None,
        epsilon_two=None,
    )
    write_candidate(
        where / "release",
        arrays={"language": arrays},
        card=build_card(facts),
        ledger=[],
        synthetic={"language": synthesize(method, arrays, 200, np.random.default_rng(1))},
        schema=spec.schema_,
    )
    write(where / "members.h5ad", MEMBERS, "m")
    write(where / "controls.h5ad", CONTROLS, "c")
    write(where / "canaries.h5ad", CANARIES, "y", repeats=REPEATS)
    return where


def write(path, codes, prefix, **columns):
    names = [f"{prefix}{i}" for i in range(len(codes))]
    obs = pd.DataFrame({"label": "all", "donor": names} | columns, index=names)
    made = anndata.AnnData(codes.astype(np.uint8), obs, pd.DataFrame(index=[f"p{i}" for i in range(codes.shape[1])]))
    made.uns["tokens"] = {"letters": "ACGT", "k": 1}
    made.write_h5ad(path)
    return path


def call(folder, *arguments, target="release"):
    given = ["--members", folder / "members.h5ad", "--controls", folder / "controls.h5ad", "--donor", "donor"]
    return CliRunner().invoke(app, list(map(str, ["audit", folder / target, *given, *arguments])))


def test_a_model_that_recites_its_canaries_is_told_with_a_score_near_one(folder):
    ended = call(folder, "--canaries", folder / "canaries.h5ad", "--samples", 500, "--json")
    assert ended.exit_code == 3, ended.output  # members are known by heart too: withheld
    told = json.loads(ended.stdout)
    score = told["memorization"]["language"]
    assert score["worst"]["low"] > 0.5 and not score["void"]
    assert [rung["repeats"] for rung in score["rungs"]] == [0, 16] and score["rungs"][1]["extracted"] > 0.8
    assert {effect["vector"] for effect in score["worst"]["effects"]} >= {"perplexity", "exposure", "extraction"}
    loss = next(a for a in told["audit"]["attacks"] if a["name"] == "language: model-loss-calibrated")
    assert loss["of"] == "model" and loss["auc"]["low"] > 0.6


def test_text_names_every_rung_and_a_table_of_sequences_is_audited_by_itself(folder):
    told = call(folder, "--canaries", folder / "canaries.h5ad", "--samples", 500).stdout
    assert "Canaries in language\n  not planted, 8 canaries: AUC" in told and "planted 16 times, 8 canaries" in told
    assert "memorization, 0 to 1: at least 0." in told and "compared token by token" in told
    alone = call(folder, target="release/synthetic.h5ad")
    assert alone.exit_code in (0, 3) and "Attacks on the data" in alone.stdout


def test_canaries_want_a_language_model(folder):
    ended = call(folder, "--canaries", folder / "canaries.h5ad", target="release/synthetic.h5ad")
    assert ended.exit_code == 2 and "expected a release with a language model" in ended.stderr


@pytest.mark.parametrize(
    ("codes", "columns", "said"),
    [
        (CANARIES, {}, "expected an obs column 'repeats'"),
        (CANARIES, {"repeats": np.full(16, 0.5)}, "whole numbers of at least 0"),
        (CANARIES, {"repeats": ["often"] * 16}, "whole numbers of at least 0"),
        (CANARIES, {"repeats": np.full(16, 8)}, "2 planted canaries and 4 that are not, or more, got 16 and 0"),
        (CANARIES + 1, {"repeats": REPEATS}, r"row y\d+, position p\d: expected a known token, 0 … 3, got 4"),
        (np.zeros((16, 13), int), {"repeats": REPEATS}, "expected 2 to 12 positions, a window's beginning, got 13"),
    ],
)
def test_canaries_that_are_none_are_refused_with_file_and_place(tmp_path, codes, columns, said):
    with pytest.raises(SpecError, match=rf"canaries\.h5ad: .*{said}"):
        read(write(tmp_path / "canaries.h5ad", codes, "y", **columns), study().schema_)
