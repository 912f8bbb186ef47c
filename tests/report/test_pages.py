"""The pages as a browser reads them: self-contained, escaped, navigable, and saying what they must."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from fedgenome.card import DECISION
from fedgenome.report.card_page import public_card
from fedgenome.report.inputs import ReportInputs
from fedgenome.report.internal import MARK, internal_report

Inputs = Callable[..., ReportInputs]
Card = Callable[..., dict[str, Any]]
AUDIT = {"verdict": "released", "statement": "the audit is internal", "decision": DECISION, "policy": {"most": 0.65}}
LOADING = ("src", "href", "srcset", "data", "action", "poster", "background", "formaction", "xlink:href")


class Page(HTMLParser):
    """What a page holds: elements in order, their own text, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self.scripts, self._open = "", [""], [""]
        self.banners: list[str] = []
        self._banner_depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.elements.append((tag, named))
        if tag == "meta":
            return
        self._open.append(tag)
        if self._banner_depth or {"bad", "banner"} <= set(named.get("class", "").split()):
            self.banners += [""] * (self._banner_depth == 0)
            self._banner_depth += 1
        if tag == "script" and "type" not in named:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "elements are nested rightly"
        self._banner_depth = max(0, self._banner_depth - 1)

    def handle_data(self, data: str) -> None:
        if self._open[-1] == "script":
            self.scripts[-1] += data
        elif self._open[-1] != "style":
            self.text += data
            if self._banner_depth:
                self.banners[-1] += data

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def pages(inputs: Inputs, card: Card, **changes: Any) -> list[Page]:
    return [Page(internal_report(inputs(**changes))), Page(public_card(card(), AUDIT))]


def test_no_page_refers_to_anything_outside_itself(inputs: Inputs, card: Card) -> None:
    for page in pages(inputs, card):
        refers = [value for _, named in page.elements for name, value in named.items() if name in LOADING]
        assert refers
        assert all(value.startswith("#") for value in refers), refers
        assert not page.all("link", "iframe", "object", "embed", "base", "img")


def test_the_policy_forbids_all_but_the_scripts_of_the_page(inputs: Inputs, card: Card) -> None:
    for page in pages(inputs, card):
        policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        digests = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.scripts[1:]}
        allowed = policy.split("script-src ")[1].split(";")[0]
        assert "default-src 'none'" in policy
        assert set(allowed.split()) == ({f"'sha256-{digest}'" for digest in digests} or {"'none'"})


def test_hostile_names_stay_text(inputs: Inputs, hostile: str) -> None:
    plain, attacked = Page(internal_report(inputs())), Page(internal_report(inputs(hostile=hostile)))
    assert Counter(tag for tag, _ in attacked.elements) == Counter(tag for tag, _ in plain.elements)
    assert attacked.scripts[1:] == plain.scripts[1:]
    assert hostile in attacked.text


def test_hostile_names_stay_text_on_the_card(card: Card, hostile: str) -> None:
    page = Page(public_card(card(label=hostile), AUDIT | {"statement": hostile}))
    assert not page.all("script", "img")
    assert page.text.count(hostile) == 2


def test_plotly_comes_along_once_and_the_report_stays_under_6_mb(inputs: Inputs) -> None:
    text = internal_report(inputs(rows=20_000))
    assert text.count("plotly.js v") == 1
    assert len(text.encode()) < 6e6


def test_the_report_says_verdict_epsilon_unit_and_that_it_stays(inputs: Inputs, verdict: Callable[..., Any]) -> None:
    page = Page(internal_report(inputs()))
    for said in (
        MARK,
        "Verdict: released",
        "ε = 2, δ = 0.0001 per row (cell), not a person",
        DECISION,
        "0.412 – 0.612",
    ):
        assert said in page.text, said
    withheld = Page(internal_report(inputs(verdict=verdict("withheld"))))
    assert any("Verdict: withheld" in b and "exceeds the limit" in b for b in withheld.banners)
    assert not any("Verdict" in banner for banner in page.banners)


def test_everywhere_an_epsilon_has_a_number_its_unit_is_near(inputs: Inputs, card: Card) -> None:
    for page in pages(inputs, card):
        places = [found.start() for found in re.finditer(r"ε = \d", page.text)]
        assert len(places) >= 4
        for place in places:
            assert "row (cell), not a person" in page.text[max(0, place - 150) : place + 150], page.text[place:][:40]


@pytest.mark.parametrize("facts", [{"trust": "none"}, {"seeded": True}])
def test_without_privacy_a_red_banner_says_so(inputs: Inputs, card: Card, facts: dict[str, Any]) -> None:
    made = card(**facts)
    said = "no privacy" if "trust" in facts else "simulation: no privacy guarantee"
    for page in (Page(internal_report(inputs(card=made))), Page(public_card(made, AUDIT))):
        assert any(said in banner for banner in page.banners)
        assert "ε = " not in page.text
    off = any("secure aggregation off" in banner for banner in page.banners)
    assert off == ("trust" in facts)


def test_a_failed_control_is_shown_as_failed(inputs: Inputs) -> None:
    assert "FAILED" in Page(internal_report(inputs())).text


def test_every_page_can_be_navigated_without_seeing_it(inputs: Inputs, card: Card) -> None:
    for page in pages(inputs, card):
        ids = [named["id"] for _, named in page.elements if "id" in named]
        assert len(set(ids)) == len(ids)
        wanted = [v[1:] for _, n in page.elements for k, v in n.items() if k == "href"]
        wanted += [n["aria-labelledby"] for _, n in page.elements if "aria-labelledby" in n]
        assert set(wanted) <= set(ids)
        first_link = page.all("a")[0]
        assert first_link["class"] == "skip"
        assert (page.all("html")[0]["lang"], len(page.all("main")), len(page.all("nav"))) == ("en", 1, 1)
        assert any(meta.get("name") == "viewport" for meta in page.all("meta"))


def test_headings_go_down_one_level_at_a_time(inputs: Inputs, card: Card) -> None:
    for page in pages(inputs, card):
        levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in zip([0, *levels], levels, strict=False))


def test_tables_have_captions_and_scopes_and_figures_a_description(inputs: Inputs, card: Card) -> None:
    for page in pages(inputs, card):
        assert len(page.all("caption")) == len(page.all("table")) > 0
        assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
        plots = [named for named in page.all("div") if named.get("class") == "plot"]
        assert len(plots) == len(page.all("figcaption"))
        assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
        scrolling = [named for named in page.all("div") if named.get("class", "").startswith("scroll")]
        assert all(box["tabindex"] == "0" and box["aria-label"] for box in scrolling)


def test_the_public_card_is_the_same_from_a_card_that_was_read_back(card: Card) -> None:
    made = card(seeded=True)
    back = json.loads(json.dumps(made, sort_keys=True))
    assert public_card(made, AUDIT) == public_card(back, dict(reversed(AUDIT.items())))


def test_an_empty_run_still_makes_a_report(inputs: Inputs) -> None:
    page = Page(internal_report(inputs(curves=[], comparisons=[], utility={}, ledger=[], audit={})))
    assert "Not measured." in page.text
    assert "Empty: nothing was charged." in page.text
    assert "No records were attacked" in page.text


def test_values_that_are_not_numbers_do_not_reach_the_figures(inputs: Inputs) -> None:
    text = internal_report(inputs())
    block = text.split('id="training-0-data">')[1].split("</script>")[0]
    assert json.loads(block)["data"][0]["y"] == [3.0, None, 1.0]
    assert np.isnan(inputs().curves[0].y[1])
