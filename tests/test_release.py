"""Releases: deterministic bytes, written whole or not at all, and cards that claim no more than they may."""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.card import (
    DECISION,
    NOISED_AT_HOME,
    Facts,
    Texts,
    build_card,
    epsilon_text,
    guarantee_line,
    library_versions,
    odds_text,
)
from fedgenome.errors import SpecError
from fedgenome.query import Mechanism
from fedgenome.release import Synthetic, add_pages, load, publish, write_candidate
from fedgenome.study import Plan, Study

FILES = ("model.safetensors", "synthetic.h5ad", "ledger.jsonl", "card.json")
PLAN = Plan(mechanisms=(Mechanism(kind="gaussian", level=1.5, sampling=0.1, count=63, scope="cvae"),))
LEDGER = [{"step": 0, "scope": "cvae", "level": 1.5}, {"step": 1, "scope": "cvae", "level": 1.5}]


def study(trust: str = "distributed", unit: str = "row", secure: str = "on") -> Study:
    private = {"epsilon": 10.0, "delta": 1e-4} if trust != "none" else {}
    fields: dict[str, Any] = {
        "name": "trial",
        "schema": {"genes": ["CD3E", "β", "NKG7"], "labels": ["B", "T"], "high": 6.0, "unit": unit},
        "methods": [{"kind": "cvae"}, {"kind": "marginals"}],
        "privacy": {"trust": trust, **private},
        "donors_bound": 700,
        "quorum": 2,
        "roster": [{"name": "site-1", "cap": 400}, {"name": "site-2", "cap": 300}],
        "secure": secure,
    }
    return Study.model_validate(fields)


def facts(trust: str = "distributed", unit: str = "row", secure: str = "on", **changes: Any) -> Facts:
    private = trust != "none"
    fields: dict[str, Any] = {
        "study": study(trust, unit, secure),
        "plan": PLAN if private else Plan(),
        "queries": {"marginals": 1, "cvae": 61},
        "engine": "local",
        "seeded": False,
        "gate_reads_people": True,
        "epsilon": 9.9991 if private else None,
        "epsilon_two": 13.7 if private else None,
        "run": "run-of-tuesday",
        "created": "2026-11-21T12:00",
        "command": "fedgenome run trial.toml",
        "versions": library_versions(),
    }
    return Facts(**fields | changes)


def content() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    rows = Synthetic(x=rng.random((40, 3), np.float32), label=rng.integers(0, 2, 40))
    return {
        "arrays": {
            "marginals": {"tables": rng.random((2, 3, 4), np.float32)},
            "cvae": {"decoder.weight": np.asfortranarray(rng.random((3, 5))), "step": np.array(61)},
        },
        "card": build_card(facts()),
        "ledger": LEDGER,
        "synthetic": {"marginals": rows, "cvae": Synthetic(x=rows.x[:7], label=rows.label[:7])},
        "schema": study().schema_,
    }


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    write_candidate(tmp_path / "candidate", **content())
    return tmp_path / "candidate"


def test_the_same_release_has_the_same_bytes_a_second_later_and_in_any_order(tmp_path: Path, candidate: Path) -> None:
    time.sleep(1.1)  # HDF5 can store times, in whole seconds
    again = content()
    for name in ("arrays", "synthetic", "card"):
        again[name] = dict(reversed(again[name].items()))
    write_candidate(tmp_path / "again", **again)
    for name in FILES:
        assert (candidate / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_release_reads_back_as_it_was_written(candidate: Path) -> None:
    found, wrote = load(candidate), content()
    assert {m: set(a) for m, a in found.arrays.items()} == {m: set(a) for m, a in wrote["arrays"].items()}
    for method, arrays in wrote["arrays"].items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.arrays[method][name], array)
            assert found.arrays[method][name].shape == array.shape
    for method, rows in wrote["synthetic"].items():
        np.testing.assert_array_equal(found.synthetic[method].x, rows.x)
        np.testing.assert_array_equal(found.synthetic[method].label, rows.label)
    assert (found.genes, found.labels) == (("CD3E", "β", "NKG7"), ("B", "T"))
    assert list(found.ledger) == LEDGER


def test_anndata_reads_the_synthetic_rows_and_their_mark(candidate: Path) -> None:
    import anndata

    found, rows = anndata.read_h5ad(candidate / "synthetic.h5ad"), content()["synthetic"]["marginals"]
    mine = found[(found.obs["method"] == "marginals").to_numpy()]
    np.testing.assert_array_equal(mine.X, rows.x)
    assert list(mine.obs["label"]) == [("B", "T")[code] for code in rows.label]
    assert list(found.var_names) == ["CD3E", "β", "NKG7"]
    assert found.obs_names.is_unique
    mark = found.uns["fedgenome"]
    assert mark["synthetic"]
    assert mark["guarantee"] == guarantee_line(build_card(facts()))


def test_a_release_without_synthetic_rows_is_whole(tmp_path: Path) -> None:
    write_candidate(tmp_path / "c", **content() | {"synthetic": {}})
    assert load(tmp_path / "c").synthetic == {}


@pytest.mark.parametrize("name", FILES[:3])
def test_an_altered_file_is_named(candidate: Path, name: str) -> None:
    path = candidate / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(SpecError, match=rf"{name} as card\.json describes it"):
        load(candidate)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(candidate: Path, name: str) -> None:
    (candidate / name).unlink()
    with pytest.raises(SpecError, match=name):
        load(candidate)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', '{"format": "fedgenome card 1"}'])
def test_a_malformed_card_is_refused(candidate: Path, text: str) -> None:
    (candidate / "card.json").write_text(text)
    with pytest.raises(SpecError, match=r"card\.json"):
        load(candidate)


def test_unpaid_statistics_are_refused_where_an_epsilon_is_printed(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no unpaid statistic in a release that prints ε.*bin edges"):
        write_candidate(tmp_path / "c", **content(), unpaid=["bin edges"])
    assert list(tmp_path.iterdir()) == []
    write_candidate(tmp_path / "c", **content() | {"card": build_card(facts("none"))}, unpaid=["bin edges"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_model_is_refused(tmp_path: Path, bad: float) -> None:
    arrays = {"cvae": {"w": np.array([0.0, bad])}}
    with pytest.raises(SpecError, match="finite numbers in the released array cvae/w"):
        write_candidate(tmp_path / "c", **content() | {"arrays": arrays})


@pytest.mark.parametrize(
    ("x", "label", "rule"),
    [
        (np.zeros((4, 2)), np.zeros(4, int), "rows of 3 genes"),
        (np.zeros((4, 3)), np.zeros(5, int), "rows of 3 genes"),
        (np.full((4, 3), np.nan), np.zeros(4, int), "finite"),
        (np.zeros((4, 3)), np.full(4, 2), "labels of the schema"),
        (np.zeros((4, 3)), np.full(4, -1), "labels of the schema"),
    ],
)
def test_rows_that_do_not_fit_the_schema_are_refused(tmp_path: Path, x: Any, label: Any, rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        write_candidate(tmp_path / "c", **content() | {"synthetic": {"cvae": Synthetic(x=x, label=label)}})


def test_a_crash_while_writing_keeps_the_earlier_candidate(candidate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in candidate.iterdir()}

    def crash(path: Path, data: bytes) -> None:
        path.write_bytes(data[:3])
        raise OSError("disk full")

    monkeypatch.setattr("fedgenome.files.write", crash)
    with pytest.raises(OSError, match="disk full"):
        write_candidate(candidate, **content())
    assert {path.name: path.read_bytes() for path in candidate.iterdir()} == before
    assert list(candidate.parent.iterdir()) == [candidate]


def test_a_new_candidate_replaces_all_of_the_old(candidate: Path) -> None:
    add_pages(candidate, {"card.html": "old"})
    write_candidate(candidate, **content())
    assert sorted(path.name for path in candidate.iterdir()) == sorted(FILES)
    assert list(candidate.parent.iterdir()) == [candidate]


def test_publishing_moves_the_candidate_once(candidate: Path, tmp_path: Path) -> None:
    add_pages(candidate, {"card.html": "<p>", "audit.json": "{}"})
    publish(candidate, tmp_path / "release")
    assert {path.name for path in (tmp_path / "release").iterdir()} == {*FILES, "card.html", "audit.json"}
    assert not candidate.exists()
    with pytest.raises(SpecError, match="a candidate at"):
        publish(candidate, tmp_path / "elsewhere")


def test_publishing_overwrites_no_release(candidate: Path, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    with pytest.raises(SpecError, match=r"nothing yet at .*release"):
        publish(candidate, tmp_path / "release")
    assert candidate.is_dir()


def test_the_guarantee_states_unit_adjacency_delta_and_two_colluders() -> None:
    line = guarantee_line(build_card(facts()))
    assert line == (
        "ε = 10, δ = 0.0001 per row (cell), not a person (add or remove one row), "
        f"with at most 1 of 3 parties colluding; ε = 13.7 if two collude; {DECISION}"
    )
    assert "donor (person) (add or remove one donor)" in guarantee_line(build_card(facts(unit="donor")))
    assert DECISION not in guarantee_line(build_card(facts(gate_reads_people=False)))


def test_under_local_the_card_says_that_colluders_play_no_part() -> None:
    card = build_card(facts("local", epsilon_two=9.9991))
    assert (
        "whichever parties collude" in card["guarantee"]["statement"] and "if two" not in card["guarantee"]["statement"]
    )
    assert "all parties together" in card["trust"]["protects"]
    told = {row["what"]: row["why"] for row in card["not_covered"]}
    assert "the own site" in told and "three colluding parties" not in told


def test_under_local_plain_sums_are_said_to_show_noised_vectors() -> None:
    card = build_card(facts("local", secure="off"))
    assert card["alerts"][0] == NOISED_AT_HOME
    coordinator = next(row for row in card["trust"]["actors"] if row["actor"] == "coordinator")
    assert "each noised at home in full" in coordinator["why"]


def test_under_site_the_card_names_the_unit_what_it_leaves_open_and_warns_of_few_sites() -> None:
    card = build_card(facts("site"))
    assert card["guarantee"]["unit"].startswith("site") and "zero-out" in card["guarantee"]["adjacency"]
    told = {row["what"] for row in card["not_covered"]}
    assert {"the presence of a site", "a single row", "three colluding parties"} <= told
    assert any("trust 'site' with 2 sites and 62 queries" in line for line in card["alerts"])


def test_only_runs_of_one_operator_say_simulated_roles() -> None:
    said = {engine: build_card(facts(engine=engine))["alerts"] for engine in ("local", "ray", "deployment")}
    told = {engine: any(line.startswith("simulated roles") for line in lines) for engine, lines in said.items()}
    assert told == {"local": True, "ray": True, "deployment": False}


def test_trust_none_says_so_and_claims_nothing() -> None:
    card = build_card(facts("none", secure="off"))
    assert any("no privacy" in line for line in card["alerts"])
    assert any("secure aggregation off" in line for line in card["alerts"])
    assert card["guarantee"]["epsilon"] is None
    assert "ε" not in json.dumps(card, ensure_ascii=False)


def test_a_seeded_card_is_the_same_in_every_engine_and_prints_no_epsilon() -> None:
    there = {"engine": "ray", "run": "other", "created": "later", "command": "another"}
    same: dict[str, Any] = {"seeded": True, "texts": Texts(justification="this ε is a demonstration")}
    here, elsewhere = build_card(facts(**same)), build_card(facts(**same, **there))
    assert here == elsewhere
    text = json.dumps(here, ensure_ascii=False)
    assert "simulation: no privacy guarantee" in here["alerts"]
    for hidden in ("ε", "simulated roles", "tuesday", "2026", "roster_digest", "9.999", "10.0"):
        assert hidden not in text, hidden
    assert build_card(facts()) != build_card(facts(**there))


@pytest.mark.parametrize("secure", ["on", "off"])
def test_a_seeded_card_trusts_nobody_less_because_of_noise_that_anybody_can_take_off(secure: str) -> None:
    card = build_card(facts("local", secure=secure, seeded=True))
    actors = {row["actor"]: (row["trusted"], row["why"]) for row in card["trust"]["actors"]}
    assert actors["coordinator"][0] == "fully" and "take its noise off" in actors["coordinator"][1]
    assert "ε" not in str(actors) and "at most" not in str(actors)
    assert card["composition"]["sampling"] == "Poisson by row, with coins that follow from the seed"


@pytest.mark.parametrize(
    ("unit", "rate", "said"),
    [("donor", 0.1, "Poisson by donor, with coins that only the site"), ("row", 1.0, "none: every row takes part")],
)
def test_the_card_says_who_is_sampled_if_anybody_is(unit: str, rate: float, said: str) -> None:
    plan = Plan(mechanisms=(Mechanism(kind="gaussian", level=1.5, sampling=rate, scope="cvae"),))
    assert build_card(facts(unit=unit, plan=plan))["composition"]["sampling"].startswith(said)


@pytest.mark.parametrize("where", ["account", "time", "host", "run"])
def test_a_seeded_release_with_a_telling_ledger_is_refused(tmp_path: Path, where: str) -> None:
    given = content() | {"card": build_card(facts(seeded=True)), "ledger": [{"step": 0, "who": [{where: "x"}]}]}
    with pytest.raises(SpecError, match=f"seeded release without .*'{where}'"):
        write_candidate(tmp_path / "c", **given)
    write_candidate(tmp_path / "c", **given | {"ledger": LEDGER})


def test_an_epsilon_belongs_to_every_trust_model_but_none() -> None:
    with pytest.raises(SpecError, match="epsilon under every trust model but none"):
        facts(epsilon=None)
    with pytest.raises(SpecError, match="epsilon under every trust model but none"):
        facts("none", epsilon=1.0)
    with pytest.raises(SpecError, match="a plan under every trust model but none"):
        facts(plan=Plan())


def test_a_seeded_card_holds_no_key_nor_a_digest_of_any_and_an_unseeded_one_all() -> None:
    def keyed(first: int) -> Study:
        names = {name: f"{first + i:064x}" for i, name in enumerate(("site-1", "site-2"))}
        return study().with_keys(names, [f"{first + i:064x}" for i in range(10, 13)])

    one, other = (build_card(facts(study=keyed(first), seeded=True)) for first in (100, 200))
    assert one == other == build_card(facts(seeded=True))
    shown = json.dumps(build_card(facts(study=keyed(100))))
    assert all(f"{number:064x}" in shown for number in (100, 101, 110, 111, 112))


def test_the_card_names_who_is_trusted_what_is_not_covered_and_what_people_said() -> None:
    card = build_card(facts(texts=Texts(justification="a demonstration", contact="privacy@example.org")))
    assert {row["actor"] for row in card["trust"]["actors"]} == {"site", "party", "network", "coordinator", "recipient"}
    assert any("signed and given once only" in row["why"] for row in card["trust"]["actors"])
    assert {"relatives", "the decision to publish"} <= {row["what"] for row in card["not_covered"]}
    assert card["mechanisms"][0]["count"] == 63
    assert "never that of the steps used" in card["composition"]["price"]
    assert (card["guarantee"]["justification"], card["about"]["contact"]) == ("a demonstration", "privacy@example.org")
    assert card["risk"]["assessed"]["membership"].startswith("yes")
    assert build_card(facts(audited=False))["risk"]["assessed"]["membership"] == "not assessed"
    assert card["sign_off"] == {"name": "", "role": "", "date": ""}


SELECTING = Plan(mechanisms=(*PLAN.mechanisms, Mechanism(kind="exponential", level=0.125, winners=3, scope="pick")))


def test_a_card_of_a_run_with_a_dealer_says_what_the_dealer_could_do() -> None:
    words = "the dealer plus any one party learns everything: it is a fourth operator who colludes with nobody"
    card, plain = build_card(facts(plan=SELECTING)), build_card(facts())
    assert [words in line for line in card["alerts"]].count(True) == 1
    assert ("dealer", True) in {(row["actor"], words in row["why"]) for row in card["trust"]["actors"]}
    assert ("the dealer and a party together", "no") in {(row["what"], row["covered"]) for row in card["not_covered"]}
    assert (card["mechanisms"][1]["epsilon"], card["mechanisms"][1]["winners"]) == (0.125, 3)
    assert "dealer" not in json.dumps(plain["alerts"] + plain["trust"]["actors"] + plain["not_covered"])


def test_a_seeded_card_prints_no_epsilon_of_a_selection_either() -> None:
    text = json.dumps(build_card(facts(plan=SELECTING, seeded=True)), ensure_ascii=False)
    assert "ε" not in text and "0.125" not in text and "winners" in text


@given(st.floats(1e-3, 700))
def test_epsilon_and_odds_are_never_printed_smaller_than_they_are(epsilon: float) -> None:
    assert epsilon - 1e-9 <= float(epsilon_text(epsilon)) < epsilon + 1.1e-3
    odds = float(odds_text(epsilon).replace(",", ""))
    assert math.exp(epsilon) <= odds <= 1.12 * math.exp(epsilon)


def test_the_card_is_readable_utf8_with_a_final_newline(candidate: Path) -> None:
    data = (candidate / "card.json").read_bytes()
    assert "β".encode() in data
    assert data.endswith(b"}\n")
