"""The price table says what a run will cost, and never less."""

import io
from dataclasses import replace

from rich.console import Console
from rich.progress import Progress

from fedgenome import console
from fedgenome.prices import Part, Prices

PART = Part(
    method="cvae",
    kind="gaussian",
    queries=105,
    asked=100,
    steps=1,
    epsilon=9.99502,
    noise_multiplier=1.42,
    deviation=1.43,
    bound=1.0,
    sampling=0.2,
    elements=4738,
    bits=32,
    site_bytes=2_381_295,
    seconds=11.0,
)
PRICES = Prices(
    study="trial",
    seeded=False,
    trust="distributed",
    unit="donor",
    adjacency="add or remove one donor",
    protects="noise once, inside the secure sum",
    warnings=(),
    sites=5,
    epsilon=9.99502,
    delta=1e-4,
    reserves=(10.0, 1e-4),
    colluders=1,
    epsilon_colluding=17.03425,
    by_method={"cvae": 9.99502},
    parts=(PART, replace(PART, site_bytes=3767)),
    site_bytes=2_385_062,
    seconds=15.0,
    accounts={},
)


def test_epsilon_is_never_rounded_down():
    text = console.table(PRICES)
    assert "ε = 9.996 at δ = 0.0001" in text and "ε = 17.035." in text
    assert "ε = 0.001 " in console.table(replace(PRICES, epsilon=1e-5))


def test_small_uploads_are_not_shown_as_nothing():
    text = console.table(PRICES)
    assert "2.38 MB" in text and "3.8 kB" in text


def test_what_auto_became_is_told_with_its_reason_and_not_as_a_warning():
    text = console.table(
        replace(PRICES, choices=("methods.auto: factors, as donors show",), warnings=("too few donors",))
    )
    assert "Chosen: methods.auto: factors, as donors show." in text and "Warning: too few donors." in text


def test_without_a_terminal_the_time_left_is_told_now_and_then(monkeypatch):
    now, seen = iter(range(0, 1000, 10)), io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    bars = console.Bars(Progress(console=Console(file=seen, width=100), get_time=lambda: 0.0))
    for done in range(1, 65):
        bars.queries("cvae", done, 64)
    lines = seen.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["2", "4", "8", "16", "32"]
    assert lines[0] == "cvae: 2 of 64 queries answered, about 10 min more"
