"""What a site differentiates: a label to be told and a person not to be found, by rows of which a list is shown.

One loss a row, and no row plays in another's: whoever is not the row's own person is made up, the same for all rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.models.masking import identifiers
from fedgenome.models.parameters import linear

Array = npt.NDArray[Any]
_TALLY = 0.5  # of a donor's gradient, what carries how well it was found: beside it the rest is learned from


class Game(nn.Module):
    """Gates (V), a logistic regression of the label, identifiers, and a tally of how well each of these finds people.

    Gates are 1 where a variant is shown and 0 elsewhere; their gradient is of showing more. Identifiers learn to find
    the row's own person by a second look at it, and the gates' gradient is taken the other way: ``price`` times what
    would make them fail. The matcher has no weights: its score of a candidate is the log-likelihood of the second look.

    Args:
        variants: V.
        labels: L.
        networks: Identifiers that learn, beside the matcher.
        error: Chance of a dosage to be wrong in a second look; of expression None.
        look: Standard deviation of a second look at expression, in those of the genes.
        matcher: Whether the matcher plays.
    """

    candidates: Tensor
    centre: Tensor
    spread: Tensor
    price: Tensor
    places: list[Tensor]

    def __init__(
        self,
        variants: int,
        labels: int,
        networks: Sequence[identifiers.Kind],
        *,
        error: float | None,
        look: float,
        matcher: bool = True,
    ) -> None:
        super().__init__()
        self.gates = nn.Embedding(variants, 1, _weight=torch.zeros(variants, 1))
        self.utility = linear(variants, labels)
        self.networks = nn.ModuleList([identifiers.network(kind, variants) for kind in networks])
        self.tally = linear(len(networks) + matcher + 1, 1, bias=False)
        self.error, self.look, self.matcher = error, look, matcher

    @property
    def parts(self) -> dict[str, slice]:
        """Where gates, the regression's weights and bias, the networks and the tally lie among the parameters."""
        own = (self.gates.weight, self.utility.weight, self.utility.bias)
        sizes = [p.numel() for p in own]
        sizes += [sum(p.numel() for p in self.networks.parameters()), self.tally.in_features]
        ends = list(accumulate(sizes))
        names = ("gates", "regression", "bias", "networks", "tally")
        return {name: slice(end - size, end) for name, end, size in zip(names, ends, sizes, strict=True)}

    def face(self, *, candidates: Tensor, centre: Tensor, spread: Tensor, price: Tensor) -> None:
        """Set whom a row's own person is to be told from, (N, V), the units of rows, (V,), and the price, (1,)."""
        self.candidates, self.centre, self.spread, self.price = candidates, centre, spread, price

    def place(self) -> None:
        """Place the candidates by the weights that are loaded: constants, so that no layer sees them beside rows."""
        told, values = self.gates.weight[:, 0], self.standard(self.candidates)
        with torch.no_grad():
            shown = (values * told, told.expand_as(values))
            self.places = [identifiers.placed(network, *shown) for network in self.networks]

    def standard(self, x: Tensor) -> Tensor:
        """Return rows in the units in which they are seen."""
        return (x - self.centre) / self.spread

    def second_look(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return another look at ``x`` (rows, V), by standard normals of the same shape."""
        if self.error is None:
            return x + self.look * self.spread * draws
        # The upper tail in three equal parts: of a wrong dosage each code is as likely, the right one too.
        tails = [math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 * self.error * k / 3)) for k in (3, 2, 1)]
        wrong = (draws > tails[1]).float() + (draws > tails[2]).float()
        return torch.where(draws > tails[0], wrong, x)

    def forward(self, x: Tensor, draws: Tensor, label: Tensor) -> Tensor:
        """Return each row's loss, (rows,): of the label, of every identifier, and its tally.

        Args:
            x: (rows, V), in the schema's units.
            draws: Standard normals of the same shape.
            label: Codes (rows,).
        """
        every = torch.arange(self.gates.num_embeddings).expand(len(x), -1)
        gates = self.gates(every)[..., 0]
        seen = self.standard(x)
        logits = self.utility(seen * gates)
        told = functional.cross_entropy(logits, label, reduction="none") + self._gains(seen, gates, logits.softmax(1))
        turned = (1 + self.price) * gates.detach() - self.price * gates  # the gates themselves, their gradient turned
        own = torch.zeros(len(x), dtype=torch.long)
        scores = self.scores(x, self.second_look(x, draws), turned)
        found = torch.stack([functional.cross_entropy(each, own, reduction="none") for each in scores], dim=1)
        most = math.log(1 + len(self.candidates))
        advantage = (most - found.detach()) / most
        tally = self.tally(torch.cat([advantage, torch.ones_like(advantage[:, :1])], dim=1))[:, 0]
        losses: Tensor = told + found.mean(1) + _TALLY * tally
        return losses

    def _gains(self, seen: Tensor, gates: Tensor, odds: Tensor) -> Tensor:
        """Return 0 for each row, whose gradient makes that of the gates the label's loss if shown less that if not.

        The gradient alone is nought at what is shown, once the regression has learned to use it, and then nothing
        speaks for it. Half the loss's second derivative mends that, to second order.
        """
        weights = self.utility.weight.detach()
        curved = seen**2 * (odds @ weights**2 - (odds @ weights) ** 2) / 2
        return ((gates - gates.detach()) * ((1 - 2 * gates) * curved).detach()).sum(1)

    def scores(self, x: Tensor, look: Tensor, gates: Tensor) -> list[Tensor]:
        """Return each identifier's scores of the row's own person and the candidates, (rows, 1 + N)."""
        found = [self._matched(x, look, gates)] if self.matcher else []
        own, seen = self.standard(x) * gates, self.standard(look) * gates
        for network, places in zip(self.networks, self.places, strict=True):
            probe = identifiers.placed(network, seen, gates)
            mine = (probe * identifiers.placed(network, own, gates)).sum(1, keepdim=True)
            found.append(identifiers.SHARPNESS * torch.cat([mine, probe @ places.T], dim=1))
        return found

    def _matched(self, x: Tensor, look: Tensor, gates: Tensor) -> Tensor:
        """Return log-likelihoods of a second look, given the row's own person and each candidate, up to a constant."""
        if self.error is None:
            seen = gates * self.standard(look) / self.look**2
            mine, others = self.standard(x), self.standard(self.candidates)
            own = (seen * mine - gates * mine**2 / (2 * self.look**2)).sum(1, keepdim=True)
            return torch.cat([own, seen @ others.T - gates @ (others**2).T / (2 * self.look**2)], dim=1)
        weight = math.log((3 - 2 * self.error) / self.error)  # of an agreement: log of right over one of the wrong
        shown, mine, others = (
            (each.round()[..., None] == torch.arange(3)).float() for each in (look, x, self.candidates)
        )
        seen = weight * gates[..., None] * shown
        return torch.cat([(seen * mine).sum((1, 2))[:, None], seen.flatten(1) @ others.flatten(1).T], dim=1)


def advantage(tally: Array, candidates: int) -> float:
    """Return what the best identifier knew of donors, nats, by the gradient of a tally.

    Its last number counts donors, by how far each was clipped; of the quotient clipping is no part. Where noise
    outweighs the sample, all is taken for known: a list that nothing is known of gets no longer.
    """
    *found, donors = tally.astype(np.float64)
    share = max(found) / donors if donors > 0 else 1.0
    return float(np.clip(share, -1, 1)) * math.log(1 + candidates)
