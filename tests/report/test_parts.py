"""The parts of the pages: markup, figures, what ε means, colours."""

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.errors import SpecError
from fedgenome.report import sections
from fedgenome.report.attacks import attacks
from fedgenome.report.figures import gene_means, principal_components, projection, roc, training
from fedgenome.report.html import asset, data_block, tag
from fedgenome.report.inputs import Comparison, Curve
from fedgenome.report.meaning import meaning, most_hits

Card = Callable[..., dict[str, Any]]


def read(markup: str) -> tuple[list[Any], str]:
    found: list[Any] = []
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda name, attrs: found.append((name, attrs))  # type: ignore[method-assign]
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(markup)
    parser.close()
    return found, "".join(texts)


@given(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"])))
def test_any_text_reads_back_as_itself(text: str) -> None:
    found, seen = read(tag("p", text, title=text))
    assert seen == text
    assert found == [("p", [("title", text)])]


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_value_can_end_its_data_block(value: object) -> None:
    block = data_block("x", value).removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert not set("<>&\u2028\u2029") & set(block)
    assert json.loads(block) == value


@given(st.floats(0.01, 20), st.floats(0.001, 0.999))
def test_most_hits_is_reached_by_randomised_response_and_never_below_chance(epsilon: float, rate: float) -> None:
    lie = 1 / (1 + math.exp(epsilon))  # randomised response has false alarms `lie` and hits 1 − `lie`, and is ε-DP
    assert most_hits(epsilon, 0.0, lie) == pytest.approx(1 - lie)
    assert rate <= most_hits(epsilon, 0.0, rate) <= most_hits(epsilon, 1e-3, rate) <= 1
    # Post-processing of randomised response reaches the bound everywhere: mix with always or never accusing.
    mixed = (1 - lie) * rate / lie if rate <= lie else 1 - lie * (1 - rate) / (1 - lie)
    assert most_hits(epsilon, 0.0, rate) == pytest.approx(mixed)


def test_a_large_epsilon_is_not_dressed_up(card: Card) -> None:
    assert "rules out hardly any attack" in meaning(card(epsilon=10.0, epsilon_two=14.0))
    small = meaning(card(epsilon=1.0, epsilon_two=1.4))
    assert "at most 27.2 % of those who did" in small or "at most 27.3 % of those who did" in small
    assert "rules out hardly any" not in small


def test_principal_components_are_those_of_the_covariance() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5)) * [5, 3, 1, 1, 1]
    centre, axes, shares = principal_components(x)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    np.testing.assert_allclose(centre, x.mean(axis=0))
    np.testing.assert_allclose(np.abs(axes @ vectors[:, [-1, -2]]), np.eye(2), atol=1e-8)
    np.testing.assert_allclose(shares, values[[-1, -2]] / values.sum())
    assert (axes[np.arange(2), np.abs(axes).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (2, 1), (5, 1)])
def test_too_few_rows_or_genes_still_have_components(shape: tuple[int, int]) -> None:
    centre, axes, shares = principal_components(np.ones(shape))
    assert (centre.shape, axes.shape, shares.shape) == ((shape[1],), (2, shape[1]), (2,))
    assert np.isfinite([*centre, *axes.ravel(), *shares]).all()


def compared(real: Any, synthetic: Any) -> Comparison:
    zeros = {"real_label": np.zeros(len(real), int), "synthetic_label": np.zeros(len(synthetic), int)}
    return Comparison(method="m", genes=["a", "b"], labels=["x"], real=real, synthetic=synthetic, **zeros)


def test_both_panels_share_axes_fitted_on_the_real_rows_only() -> None:
    real = np.array([[0.0, 0], [1, 0], [2, 0.1]])
    near, far = (projection("p", compared(real, real + np.array([0, shift]))) for shift in (0, 50))
    assert near[0].data[0]["x"] == far[0].data[0]["x"], "the real rows' projection does not move"
    assert far[0].layout == far[1].layout


def test_a_panel_shows_a_bounded_number_of_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(50_000, 2))
    real, _ = projection("p", compared(rows, rows))
    assert len(real.data[0]["x"]) == 1500
    assert "1,500 shown" in real.caption


def test_missing_values_take_the_mean_of_their_gene() -> None:
    figure = gene_means("m", compared(np.array([[1.0, 4], [np.nan, 6]]), np.zeros((2, 2))))
    assert figure.data[1]["x"] == [1.0, 5.0]


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SpecError, match="as many x as y in curve loss"):
        Curve(name="loss", x=np.arange(3), y=np.arange(2))
    with pytest.raises(SpecError, match="synthetic rows of 2 genes"):
        compared(np.zeros((2, 2)), np.zeros((2, 3)))


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_marks_can_be_told_from_their_ground(scheme: int) -> None:
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", re.findall(r":root \{[^}]*\}", asset("report.css"))[scheme]))
    pairs = [("ink", "ground"), ("quiet", "ground"), ("link", "ground"), ("ink", "panel")]
    pairs += [(word, f"{word}-ground") for word in ("good", "bad")] + [("ink", "good-ground"), ("ink", "bad-ground")]
    marks = [(f"c{k}", "ground") for k in range(10)] + [("focus", "ground")]
    for pairs_of, least in ((pairs, 4.5), (marks, 3.0)):  # WCAG 2.2: 1.4.3 for text, 1.4.11 for graphics
        for front, back in pairs_of:
            assert contrast(colours[front], colours[back]) >= least, (front, back)


@pytest.mark.parametrize("count", [1, 2])
def test_curves_of_one_plot_are_told_apart_by_a_legend(count):
    names = ["members", "controls"][:count]
    x = np.arange(3.0)
    figure = training("t", [Curve(name=name, x=x, y=x, x_title="query", y_title="loss") for name in names])
    assert figure.layout["showlegend"] == (count > 1) and [trace["name"] for trace in figure.data] == names


def test_meaning_follows_the_trust_model(card: Card) -> None:
    local, site = meaning(card("local")), meaning(card("site"))
    assert "whichever computing parties collude" in local and "if two do" not in local
    assert "replacing all data of one site by none" in site and "one site's data were used" in site.replace(
        "&#x27;", "'"
    )


def test_utility_table_names_the_worst_gene_and_says_why_a_figure_is_absent(inputs):
    shown = sections.utility(inputs().utility, ["B", "T"], ["CD3E", "NKG7"])
    assert "0.200 (NKG7)" in shown and "0.100 (0.050 – 0.200)" in shown
    assert "copies: needs more" in shown and "how near" in shown


def test_attack_curves_are_logarithmic_from_the_smallest_rate_that_the_controls_support(inputs):
    """A hit rate of 0 has no logarithm: a gap. The mark at 10 % has its interval; nobody claims one at 1 %."""
    figure = roc("r", inputs().audit["attacks"], 0.03)
    chance, curve, marks = figure.data
    assert {figure.layout[axis]["type"] for axis in ("xaxis", "yaxis")} == {"log"}
    assert chance["x"] == chance["y"] == [0.03, 1.0] and "from 0.03, the smallest rate" in figure.caption
    assert (curve["x"], curve["y"]) == ([0.05, 0.5, 1.0], [None, 0.52, 1.0])
    assert marks["x"] == pytest.approx([0.1], rel=0.05) and marks["y"] == [0.2]
    assert marks["error_y"]["array"] == marks["error_y"]["arrayminus"] == [0.1]
    assert min(figure.layout["xaxis"]["tickvals"]) >= 0.03 and math.isclose(figure.layout["yaxis"]["range"][0], -1.543)


def test_attacks_show_score_strata_power_and_rates_and_never_say_private(inputs):
    shown = read(attacks(inputs().audit))[1]
    for said in (
        "0.031",
        "0.125",
        "1 where every member is told from every control",
        "none is surely above 0",
        "Power: This audit finds an AUC of 0.59 with 80 % power",
        "Most exposed plain: most of plain",
        "Too few members or controls to say anything (under 10): plain few",
        "at 1 % false alarms",
        "not claimable from 94 controls: 300 are needed",
    ):
        assert said in shown, said
    assert "private" not in shown.lower() and "safe" not in shown.lower()


def test_a_score_of_the_model_stands_beside_that_of_the_rows(inputs):
    audit = inputs().audit
    found = audit["worst"]["data"]
    shown = read(attacks(audit | {"worst": {"data": found, "model": found | {"surest": "model-loss"}}}))[1]
    assert (
        "synthetic rows: the largest" in shown
        and "model: the largest" in shown
        and "surely above 0: model-loss" in shown
    )
