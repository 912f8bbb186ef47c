"""DeepType, a classifier whose last hidden layer clusters (Chen et al., Bioinformatics 2020), with one loss a row.

Two hidden layers of sigmoids, by default 1,024 and 512. A row's loss is its cross-entropy, and, in the joint phase, how
far its last hidden layer lies from a centre. That a gene is used little is asked of the weights alone (:func:`shrink`),
so that it is no part of anybody's gradient. Rows do not meet, and every parameter sits in a Linear layer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.errors import require
from fedgenome.models.parameters import linear

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]

_NEAR, _FAR = 0.9, 0.1  # of a sigmoid's range, for units of the own class and of others


class DeepType(nn.Module):
    """Genes → hidden → hidden → labels.

    Weights are zero until :mod:`fedgenome.models.parameters` draws or loads them. About 21 million of them at 20,000
    genes, 1,024 and 512 units and 6 labels; the first layer's come first in ``parameters()``.

    Args:
        genes: Width of x.
        widths: Units of both hidden layers.
        labels: Number of classes.
    """

    def __init__(self, genes: int, widths: tuple[int, int], labels: int) -> None:
        super().__init__()
        require(min(genes, *widths, labels) >= 1, "genes, widths, labels >= 1", genes=genes, widths=widths)
        self.first = linear(genes, widths[0])
        self.second = linear(widths[0], widths[1])
        self.last = linear(widths[1], labels)

    def hidden(self, x: Tensor) -> Tensor:
        """Return the last hidden layer of rows (rows, genes), (rows, units) in (0, 1)."""
        return functional.sigmoid(self.second(functional.sigmoid(self.first(x))))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores of each label, (rows, labels), and the last hidden layer."""
        hidden = self.hidden(x)
        return self.last(hidden), hidden


def loss(model: DeepType, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return each row's cross-entropy and pull · ‖last hidden layer − centre‖², (rows,).

    Args:
        model: The classifier.
        inputs: x (rows, genes); labels (rows,) int64; centres (rows, units), each row's own; pulls (rows,).
    """
    x, label, centre, pull = inputs
    scores, hidden = model(x)
    apart: Tensor = (hidden - centre).square().sum(-1)
    total: Tensor = functional.cross_entropy(scores, label, reduction="none") + pull * apart
    return total


def shrink(first: npt.NDArray[np.float32], by: float) -> None:
    """Shorten the weights of every gene, a column of ``first`` (units, genes), by ``by`` in L2, to zero at most.

    In place. A proximal step of ``by`` · Σ ‖column‖₂, the ℓ2,1 norm (Yuan & Lin 2006): genes of little use end at zero.
    """
    norms = np.sqrt(np.einsum("ij,ij->j", first, first, dtype=np.float64))
    first *= np.maximum(1 - by / np.maximum(norms, np.finfo(np.float64).tiny), 0).astype(np.float32)


def simplex(labels: int, units: int) -> npt.NDArray[np.float32]:
    """Return public centres, one a label, (labels, units): every label has units of its own that are on.

    >>> simplex(2, 5)
    array([[0.9, 0.1, 0.9, 0.1, 0.9],
           [0.1, 0.9, 0.1, 0.9, 0.1]], dtype=float32)
    """
    own = np.arange(units) % labels == np.arange(labels)[:, None]
    return np.where(own, np.float32(_NEAR), np.float32(_FAR))
