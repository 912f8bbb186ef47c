"""What a language model writes follows what it says, and the generator it is passed."""

import numpy as np
import torch
from scipy import stats

from fedgenome.models.language.sizes import Options, build
from fedgenome.models.language.writing import write
from fedgenome.models.parameters import initialise


def made(architecture):
    model = build(Options(architecture=architecture, width=16, layers=1), 4, 6)
    initialise(model, np.random.default_rng(0))
    return model


def test_causal_windows_are_exact_draws_of_the_model():
    # Chi-square over all 64 strings of three tokens; false alarm 1e-4, two-sided: neither too far nor too near.
    model, n = made("lstm"), 20_000
    said = write(model, n, 3, np.random.default_rng(1))
    strings = torch.cartesian_prod(*[torch.arange(4)] * 3)
    logs = model(strings).detach().log_softmax(2).gather(2, strings[..., None])[..., 0].sum(1).double()
    seen = np.bincount((said @ torch.tensor([16, 4, 1])).numpy(), minlength=64)
    p = stats.chisquare(seen, n * logs.exp().numpy() / logs.exp().sum().item()).pvalue
    assert 5e-5 < p < 1 - 5e-5


def test_masked_model_writes_known_tokens_by_its_conditionals():
    # One token alone: the model's own distribution of it, all else hidden.
    model, n = made("masked"), 20_000
    said = write(model, n, 1, np.random.default_rng(2))[:, 0].numpy()
    logits = model(torch.zeros((1, 1), dtype=torch.int64), torch.ones((1, 1), dtype=torch.bool))[0, 0].detach()
    p = stats.chisquare(np.bincount(said, minlength=4), n * logits.double().softmax(0).numpy()).pvalue
    assert 5e-5 < p < 1 - 5e-5


def test_same_generator_gives_the_same_windows_and_none_an_empty_table():
    model = made("masked")
    one, other = (write(model, 5, 6, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one, other) and one.shape == (5, 6) and int(one.max()) <= 3
    assert write(model, 0, 6, np.random.default_rng(3)).shape == (0, 6)
