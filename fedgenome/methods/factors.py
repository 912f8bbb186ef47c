"""A factor model from a sketch and cross moments: label means, shared directions, and what is each gene's own.

Four questions, of some 19,000 numbers for 909 genes. The covariance itself would be genes²/2 numbers
(``gaussian`` asks for them). A random sketch zP shows which directions matter;
the moments Σ z fᵀ with those few directions f then cost a norm of C·√r in place of C².
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from fedgenome.errors import require
from fedgenome.methods import moments
from fedgenome.methods.base import drawn_rows
from fedgenome.methods.bundle import Bundle, Floats, Rows, clip, matrix
from fedgenome.methods.bundled import shares_of
from fedgenome.methods.staged import Staged, StagedOptions, towards_mean
from fedgenome.query import Array, State

_REACH = 1.2  # C in √genes: between half of the donors' rows and a quarter are longer
_SKETCHED = 1.2  # norm of a sketched row that is kept, in what C leaves of a row of no particular direction
_EDGE = 1.4  # in edges of the sketch's noise: what a direction must exceed to be asked about
_ROUNDS = 5  # of finding what is each gene's own
_CORE = 0.05  # least of W's own second moments that is inverted
_OWN = 0.1  # share of a gene's variance that no direction explains, at least


class Options(StagedOptions):
    """Options of ``factors``. Shares are relative."""

    directions: int = Field(default=12, ge=1, description="shared directions, at most")
    width: int = Field(default=60, ge=1, description="width of the sketch, at most")
    means: float = Field(default=0.22, gt=0, description="budget share of label means")
    variances: float = Field(default=0.07, gt=0, description="budget share of variances of standardised genes")
    energy: float = Field(default=0.01, gt=0, description="budget share of two sums that undo the clip")
    sketch: float = Field(default=0.15, gt=0, description="budget share of the sketch")
    cross: float = Field(default=0.38, gt=0, description="budget share of cross moments")


@dataclass(frozen=True, kw_only=True)
class Factors(Staged[Options]):
    """Rows of a label are Gaussian about its mean, with one low-rank covariance for all labels.

    State, beside :class:`~fedgenome.methods.staged.Staged`'s: ``basis`` (genes, width), the
    public P; ``middle`` (genes,), the next centre; ``onto``
    (genes, directions), W; ``means`` (labels, genes), ``loadings`` (genes, directions + labels), ``own`` (genes,).
    """

    @property
    def shares(self) -> Mapping[str, float]:
        """Relative budget shares."""
        names = ("labels", "centre", "spreads", "means", "variances", "energy", "sketch", "cross")
        return {name: getattr(self.options, name) for name in names}

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(labels, genes, width, directions)."""
        genes = len(self.schema.genes)
        width = min(self.options.width, genes)
        return len(self.schema.labels), genes, width, min(self.options.directions, width)

    @property
    def norm(self) -> float:
        """L2 bound C of a standardised row."""
        return _REACH * math.sqrt(len(self.schema.genes))

    @property
    def sketched(self) -> float:
        """L2 bound of a row of the sketch."""
        _, genes, width, _ = self.shape
        return _SKETCHED * self.norm * math.sqrt(width / genes)

    @property
    def later(self) -> tuple[Bundle, ...]:
        """Means, variances, energy and sketch; then cross moments."""
        labels, genes, width, directions = self.shape
        third = (
            self.part("means", labels * genes, self.norm),
            self.part("variances", genes, 1.45 * self.norm),
            self.part("energy", 2, math.sqrt(2)),
            self.part("sketch", width * (width + 1) // 2, self.sketched**2),
        )
        fourth = self.part("cross", genes * directions, self.norm * math.sqrt(directions))
        return Bundle(statistics=third), Bundle(statistics=(fourth,))

    def payload(self, state: State, step: int) -> dict[str, Array]:
        """Return P, or W."""
        return {"basis": state["basis"]} if step == 2 else {"onto": state["onto"]}

    def step_of(self, payload: Mapping[str, Array]) -> int:
        """Return 2 for P, 3 for W."""
        _, genes, width, directions = self.shape
        shapes = {name: array.shape for name, array in payload.items() if name not in ("centre", "scale")}
        expected = {"basis": (genes, width)}, {"onto": (genes, directions)}
        require(shapes in expected, f"a payload of shapes {expected[0]} or {expected[1]}", shapes=shapes)
        return 2 + expected.index(shapes)

    def statistics(self, payload: Mapping[str, Array], z: Floats, label: Array) -> dict[str, Rows]:
        """Return parts of the third question or of the fourth."""
        labels, _, _, directions = self.shape
        short = clip(z, self.norm)
        if "onto" in payload:
            used = max(1, int(np.count_nonzero(np.any(payload["onto"] != 0, axis=0))))
            seen = clip(short @ payload["onto"], math.sqrt(used)) * math.sqrt(directions / used)
            return {"cross": (short, seen)}
        return {
            "means": (np.eye(labels)[label], short),
            "variances": short**2,
            "energy": moments.energies(z, self.norm),
            "sketch": (clip(short @ payload["basis"], self.sketched), None),
        }

    def untaught(self, rng: np.random.Generator) -> State:
        """Draw P: orthonormal columns in no particular direction."""
        labels, genes, width, directions = self.shape
        basis = np.linalg.qr(rng.standard_normal((genes, width)))[0]
        return {
            "basis": basis.astype(np.float32),
            "onto": np.zeros((genes, directions)),
            "middle": np.full(genes, float(self.middle)),
            "means": np.zeros((labels, genes)),
            "variances": np.ones(genes),
            "energy": np.ones(2),
            "loadings": np.zeros((genes, directions + labels)),
            "own": np.ones(genes),
        }

    def taught(self, state: State, bundle: Bundle, parts: Mapping[str, Floats]) -> State:
        """Learn directions from the third question, the model from the fourth."""
        return self._model(state, bundle, parts) if "cross" in parts else self._directions(state, bundle, parts)

    def _directions(self, state: State, bundle: Bundle, parts: Mapping[str, Floats]) -> State:
        labels, genes, width, directions = self.shape
        donors, basis = self.donors(state), state["basis"].astype(np.float64)
        energy, longer = moments.energy_of(parts["energy"] / donors)
        energy *= self.norm**2 / genes
        variances = towards_mean(parts["variances"] / donors, bundle.deviation("variances", self.level) / donors)
        variances = moments.profile(variances, energy)
        # Each gene's own part blurs all directions alike; what is left are those that genes share.
        sketch = longer * matrix(parts["sketch"], width) / donors
        values, vectors = np.linalg.eigh(sketch - basis.T @ (variances[:, None] * basis) * 0.5)
        top = vectors[:, ::-1][:, :directions]
        length = np.sqrt(np.maximum(np.einsum("ij,ij->j", top, sketch @ top) / longer, 1e-6))
        edge = _EDGE * math.sqrt(2 * width) * bundle.deviation("sketch", self.level) / donors * longer
        seen = values[::-1][:directions] > edge
        seen[0] = True
        length = np.where(seen, length, np.inf)
        raw = parts["means"].reshape(labels, genes) / np.maximum(state["counts"], 1.0)[:, None] * math.sqrt(longer)
        blur = bundle.deviation("means", self.level) / donors * math.sqrt(longer)
        centre, means = self.recentred(state, raw, blur)
        return {
            "onto": basis @ (top / length),
            "middle": centre,
            "means": means,
            "variances": variances,
            "energy": np.array([energy, longer]),
        }

    def _model(self, state: State, bundle: Bundle, parts: Mapping[str, Floats]) -> State:
        _, genes, _, directions = self.shape
        donors, longer = self.donors(state), state["energy"][1]
        blur = bundle.deviation("cross", self.level) / donors * longer
        used = np.count_nonzero(state["onto"].any(0))
        thin = math.sqrt(used / directions)
        blur *= thin
        q = thin * longer * parts["cross"].reshape(genes, directions)[:, :used] / donors
        loadings = nystrom(q, state["onto"][:, :used], state["variances"], blur)
        own = np.maximum(state["variances"] - (loadings**2).sum(1), _OWN * state["variances"])
        values, vectors = np.linalg.eigh(loadings @ loadings.T + np.diag(own))
        counts = np.maximum(state["counts"], 1.0)
        noise = self.bundles[2].deviation("means", self.level) / counts * math.sqrt(longer)
        means = moments.shrunk_means(state["means"], noise, values, vectors)
        model = moments.within(loadings, state["variances"], means, shares_of(state["counts"]))
        loadings = moments.padded(model.loadings, state["loadings"].shape[1])
        return {"means": model.means, "loadings": loadings, "own": model.own, "centre": state["middle"]}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``label_weights``, ``centre``, ``scale``, ``means``, ``loadings`` and ``own``."""
        self.require_finished(state)
        names = ("centre", "scale", "means", "loadings", "own")
        return {"label_weights": shares_of(state["counts"])} | {n: state[n].astype(np.float32) for n in names}

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Draw one row for each label code, float32 (n, genes), within the public range."""
        z = moments.drawn(arrays, labels, rng, mirrored=self.options.mirrored)
        x = arrays["centre"] + arrays["scale"] * z
        return drawn_rows(self.schema, x)

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's −log density, up to a constant, float64 (rows,)."""
        return moments.losses(arrays, x, label)


def nystrom(q: Floats, onto: Floats, variances: Floats, blur: float) -> Floats:
    """Return L (genes, r) with L Lᵀ = (Q − DW)(WᵀQ − WᵀDW)⁻¹(Q − DW)ᵀ, D what L leaves of the variances.

    Q is S W for a covariance S = L Lᵀ + D, so that Q − DW = L LᵀW: a Nyström form. D is found by repetition.

    Args:
        q: (genes, r) noisy.
        onto: W, (genes, r).
        variances: (genes,) diagonal of S.
        blur: Standard deviation of the noise in ``q``.
    """
    own, loadings = variances / 2, np.zeros_like(q)
    for _ in range(_ROUNDS):
        shared = q - own[:, None] * onto
        core = onto.T @ shared
        values, vectors = np.linalg.eigh((core + core.T) / 2)
        values = np.maximum(values, _CORE)
        whitened = vectors / np.sqrt(values)
        loadings = shared @ whitened
        square = (loadings**2).sum(0)
        loadings = loadings * np.sqrt(np.maximum(1 - len(q) * blur**2 / values / np.maximum(square, 1e-12), 0))
        explained = (loadings**2).sum(1)
        loadings *= np.sqrt(np.minimum(1, (1 - _OWN) * variances / np.maximum(explained, 1e-12)))[:, None]
        own = variances - (loadings**2).sum(1)
    return loadings
