"""The price table says what a run will cost, and never less."""

from dataclasses import replace

from fedgenome import console
from fedgenome.prepare import Part, Prices

PART = Part(
    method="cvae", queries=105, noise_multiplier=1.42, sampling=0.2, elements=4738, bits=32, site_bytes=2_381_295
)
PRICES = Prices(
    study="trial",
    trust="distributed",
    unit="donor",
    sites=5,
    epsilon=9.99502,
    delta=1e-4,
    colluders=1,
    epsilon_colluding=17.03425,
    by_method={"cvae": 9.99502},
    parts=(PART, replace(PART, site_bytes=3767)),
)


def test_epsilon_is_never_rounded_down():
    text = console.table(PRICES)
    assert "ε = 9.996 at δ = 0.0001" in text and "ε = 17.035." in text
    assert "ε = 0.001 " in console.table(replace(PRICES, epsilon=1e-5))


def test_small_uploads_are_not_shown_as_nothing():
    text = console.table(PRICES)
    assert "2.38 MB" in text and "3.8 kB" in text
