"""Layers with one use of their parameters, by the functions of torch that compute them, and those refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedgenome.errors import SpecError
from fedgenome.privacy.recording import Function, Recorder
from fedgenome.privacy.rules import Convolution, Linear, Lookup, Scale

DROPOUT = "Dropout draws by position in the batch; take draws as an input instead"


def linear(rec: Recorder, func: Function, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """Handle a product with rows first, whatever comes between rows and features."""
    if not (rec.fits(input) and rec.knows(weight, bias)):
        return func(input, weight, bias)
    out = func(input, rec.alone(weight), rec.alone(bias))
    names = rec.names(weight, bias)
    rec.note(Linear(names=names, donors=rec.donors, a=input.detach(), outputs=weight.shape[0]), out)
    return out


def _conv1d(
    rec: Recorder,
    func: Function,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Any:
    if groups != 1 or not (rec.fits(input) and input.dim() == 3 and rec.knows(weight, bias)):
        return func(input, weight, bias, stride, padding, dilation, groups)
    out = func(input, rec.alone(weight), rec.alone(bias), stride, padding, dilation, groups)
    kernel, spread = weight.shape[2], _one(dilation)
    use = Convolution(
        names=rec.names(weight, bias),
        donors=rec.donors,
        a=input.detach(),
        outputs=len(weight),
        kernel=kernel,
        stride=_one(stride),
        padding=_sides(padding, (kernel - 1) * spread),
        dilation=spread,
    )
    rec.note(use, out)
    return out


def _one(number: int | Sequence[int]) -> int:
    return number if isinstance(number, int) else number[0]


def _sides(padding: str | int | Sequence[int], reach: int) -> tuple[int, int]:
    if isinstance(padding, str):
        both = reach if padding == "same" else 0
        return both // 2, both - both // 2
    return _one(padding), _one(padding)


def _embedding(
    rec: Recorder,
    func: Function,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    rest = padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
    plain = max_norm is None and not scale_grad_by_freq and not sparse
    if not (plain and rec.knows(weight) and input.dim() >= 1 and len(input) == rec.rows and input.numel()):
        return func(input, weight, *rest)
    out = func(input, rec.alone(weight), *rest)
    entries = len(weight)
    skipped = None if padding_idx is None else padding_idx % entries
    a = input.detach().unsqueeze(-1)
    rec.note(Lookup(names=rec.names(weight), donors=rec.donors, a=a, entries=entries, skipped=skipped), out)
    return out


def _layer_norm(
    rec: Recorder,
    func: Function,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    flat = len(normalized_shape) == 1 and weight is not None
    if not (flat and rec.fits(input) and rec.knows(weight, bias)):
        return func(input, normalized_shape, weight, bias, eps)
    out = func(input, normalized_shape, rec.alone(weight), rec.alone(bias), eps)
    with torch.no_grad():
        a = func(input, normalized_shape, None, None, eps)
    rec.note(Scale(names=rec.names(weight, bias), donors=rec.donors, a=a, channels=-1), out)
    return out


def _group_norm(
    rec: Recorder,
    func: Function,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    if weight is None or not (rec.fits(input) and rec.knows(weight, bias)):
        return func(input, num_groups, weight, bias, eps)
    out = func(input, num_groups, rec.alone(weight), rec.alone(bias), eps)
    with torch.no_grad():
        a = func(input, num_groups, None, None, eps)
    rec.note(Scale(names=rec.names(weight, bias), donors=rec.donors, a=a, channels=1), out)
    return out


def _dropout(
    _: Recorder, func: Function, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    if training and p > 0:
        raise SpecError(DROPOUT)
    return func(input, p, training, inplace)


def _batch_norm(*_: Any, **__: Any) -> Any:
    raise SpecError("BatchNorm mixes donors; use GroupNorm or none")


HANDLERS: dict[Any, Function] = {
    functional.linear: linear,
    functional.conv1d: _conv1d,
    functional.embedding: _embedding,
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.batch_norm: _batch_norm,
    functional.dropout: _dropout,
    functional.dropout1d: _dropout,
    functional.dropout2d: _dropout,
    functional.dropout3d: _dropout,
    functional.alpha_dropout: _dropout,
    functional.feature_alpha_dropout: _dropout,
}
