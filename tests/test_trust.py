"""What a trust model decides: where noise is, how wide the ring must be, and what a site refuses."""

import math
from dataclasses import replace

import pytest

from fedgenome import trust
from fedgenome.errors import Refused, SpecError
from fedgenome.query import Mechanism, Query, Question, Terms, choose_scale
from tests.federation.small import make_study

TERMS = Terms(caps=tuple((f"site-{i}", 40) for i in range(16)), colluders=2, quorum=16, roster="", plan="")
GAUSSIAN = Mechanism(kind="gaussian", level=2.0, sampling=0.5)


def question(unit="donor", **mechanism):
    noise = replace(GAUSSIAN, **mechanism)
    return Question(payload={}, length=50, reply_length=50, bound=1.0, mechanism=noise, unit=unit)


def query(asked, terms=TERMS):
    when = {"study": "", "run": "", "method": "m", "step": 0, "attempt": 0}
    return Query(question=asked, terms=terms, scale=choose_scale(asked, terms), **when)


@pytest.mark.parametrize("colluders", [0, 1, 2])
def test_at_home_every_site_adds_all_of_the_noise_whoever_colludes(colluders):
    home = query(question(where="home"), replace(TERMS, colluders=colluders))
    assert home.sigma_party == 0
    assert home.sigma_home == home.sigma_ring == math.hypot(2.0 * home.sensitivity, 2.0)


def test_noise_of_the_parties_is_not_added_at_home():
    asked = query(question())
    assert asked.sigma_home == 0 and asked.sigma_party == asked.sigma_ring


def test_ring_holds_the_noise_of_all_sites_at_home():
    home = query(question(where="home"))
    donors = TERMS.donors * (home.scale + 1) + TERMS.sites
    assert home.limit == pytest.approx(donors + 10 * 4 * home.sigma_home)  # √16 sites


def test_site_s_vector_of_local_training_gets_no_further_noise():
    moved = query(question("site", where="home", count=5))
    assert moved.sigma_home == moved.sigma_party == 0
    assert moved.limit == pytest.approx(16 * (moved.scale + 1) + 16)  # sixteen sites, not their donors


@pytest.mark.parametrize("at", ["home", "parties"])
def test_where_noise_is_added_changes_the_digest(at):
    assert (query(question(where=at)).digest == query(question()).digest) == (at == "parties")


def test_local_places_gaussian_noise_at_home_and_the_others_leave_it():
    places = {model: trust.placed(GAUSSIAN, model).where for model in ("local", "distributed", "site")}
    assert places == {"local": "home", "distributed": "parties", "site": "parties"}


def test_selection_has_no_form_under_local():
    with pytest.raises(SpecError, match=r"methods\.pick: trust 'local'.*expected trust 'distributed'"):
        trust.placed(Mechanism(kind="exponential", level=1.0, scope="pick"), "local")


FITS = {
    "distributed": question(),
    "local": question(where="home"),
    "site": question("site", sampling=1.0),
    "none": replace(question(), mechanism=None),
}


@pytest.mark.parametrize("asked", FITS)
@pytest.mark.parametrize("model", FITS)
def test_a_question_of_one_trust_model_is_refused_under_every_other(model, asked):
    if model == asked:
        assert trust.check(FITS[asked], model) is None
        return
    with pytest.raises(Refused) as fault:
        trust.check(FITS[asked], model)
    assert fault.value.code == "other-trust" and f"trust '{model}'" in fault.value.rule


@pytest.mark.parametrize(
    ("model", "asked", "code"),
    [
        ("site", question("site", sampling=0.5), "other-trust"),  # nobody samples sites
        ("local", question(where="home", count=2), "outside-plan"),  # a sum is one step
        ("site", question("site", sampling=1.0, count=2), "outside-plan"),
        ("distributed", question(count=2), "outside-plan"),
    ],
)
def test_what_would_be_charged_for_more_or_less_than_happens_is_refused(model, asked, code):
    with pytest.raises(Refused) as fault:
        trust.check(asked, model)
    assert fault.value.code == code


def test_local_training_may_answer_for_several_steps():
    assert trust.check(question("site", where="home", count=7), "local") is None


@pytest.mark.parametrize(
    ("model", "unit", "says"),
    [("distributed", "row", "parties"), ("local", "row", "all parties together"), ("site", "site", "does not hide")],
)
def test_every_model_says_its_unit_and_whom_it_protects_from(model, unit, says):
    study = make_study(model, kind="cvae", methods=[{"kind": "cvae", "options": {"local_steps": 1}}])
    assert trust.unit(study) == unit and unit in trust.adjacency(study) and says in trust.protects(study)


def test_few_sites_or_many_queries_are_warned_of_under_site_alone():
    many = [{"name": f"s{i}", "cap": 9} for i in range(trust.FEW_SITES)]
    few = make_study("site", parties=[], roster=many[:2])
    wide = make_study("site", parties=[], roster=many)
    assert "2 sites" in trust.warnings(few, 2)[0] and "9 queries" in trust.warnings(wide, 9)[0]
    assert trust.warnings(wide, 2) == trust.warnings(make_study("local"), 100) == []


@pytest.mark.parametrize("model", ["distributed", "site"])
def test_plain_sums_are_refused_where_a_site_s_vector_has_no_noise_of_its_own(model):
    with pytest.raises(ValueError, match="secure 'off' only with trust 'local' or 'none'"):
        make_study(model, secure="off")
    assert make_study("local", secure="off").secure == "off"
