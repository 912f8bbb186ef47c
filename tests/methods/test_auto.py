"""What ``auto`` becomes, from public facts alone, and when it says that too few donors are there."""

import pytest

from fedgenome.errors import SpecError
from fedgenome.methods import auto, registry
from fedgenome.study import MethodSpec, Privacy


def private(epsilon, trust="distributed"):
    return Privacy(epsilon=epsilon, delta=1e-5, trust=trust)


def chosen(epsilon, donors=900, trust="distributed", sites=1, others=(), genes=900):
    methods = (MethodSpec(kind="auto"), *others)
    return auto.chosen(methods, private(epsilon, trust), genes, donors, sites)["auto"]


@pytest.mark.parametrize(
    ("epsilon", "donors", "kind", "options"),
    [
        (10, 900, "gaussian", {}),
        (1, 9000, "gaussian", {}),
        (1, 900, "gaussian", {"covariance": "diagonal"}),
        (0.5, 900, "inverted", {}),
    ],
)
def test_donors_and_epsilon_buy_a_covariance_then_label_means_then_a_classifier(epsilon, donors, kind, options):
    found = chosen(epsilon, donors)
    assert (found.kind, found.options) == (kind, options)


@pytest.mark.parametrize("epsilon", [10, None])
def test_many_genes_get_factors_in_place_of_a_covariance(epsilon):
    assert (auto.choose(2000, 900, epsilon).kind, auto.choose(2001, 900, epsilon).kind) == ("gaussian", "factors")


def test_too_few_donors_for_epsilon_are_warned_of_and_enough_are_not():
    assert "teaches little more than which label is commonest" in chosen(0.05).warning
    assert not chosen(0.25).warning and not chosen(10).warning


def test_noise_of_every_site_and_budget_of_other_methods_count():
    assert chosen(10, trust="local", sites=16).options == {"covariance": "diagonal"}
    assert chosen(10, others=[MethodSpec(kind="marginals", noise=0.05)]).kind == "inverted"


def test_without_privacy_a_covariance_is_chosen():
    open_ = Privacy(trust="none")
    assert auto.chosen([MethodSpec(kind="auto")], open_, 5, 10, 2)["auto"].kind == "gaussian"


def test_what_was_chosen_keeps_its_name_its_noise_and_given_options_and_can_be_built():
    asked = MethodSpec(kind="auto", name="mine", noise=2.0, options={"middle": 7.5}), MethodSpec(kind="linear")
    choices = auto.chosen(asked, private(0.5), 900, 900, 3)
    mine, other = auto.resolved(asked, choices)
    assert (mine.kind, mine.label, mine.noise, mine.options["middle"]) == ("inverted", "mine", 2.0, 7.5)
    assert other == asked[1] and mine.kind in registry.KINDS
    assert auto.told(choices)[0].startswith("methods.mine: inverted, as donors · ε = ")


def test_no_donors_are_refused():
    with pytest.raises(SpecError, match="donors_bound >= 1"):
        auto.choose(5, 0, 1.0)


def test_dosages_get_the_method_that_keeps_them_whole_whatever_their_number():
    asked = [MethodSpec(kind="auto", name="mine"), MethodSpec(kind="marginals")]
    choices = auto.chosen(asked, private(0.1), 5000, 100, 3, dosages=True)
    assert [spec.kind for spec in auto.resolved(asked, choices)] == ["genotypes", "marginals"]
