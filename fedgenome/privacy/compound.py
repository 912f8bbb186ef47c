"""Layers of several uses, taken apart: LSTM and self-attention. :data:`HANDLERS` has every layer with a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fedgenome.errors import SpecError
from fedgenome.privacy import layers
from fedgenome.privacy.layers import DROPOUT
from fedgenome.privacy.recording import Function, Recorder
from fedgenome.privacy.recurrent import Recurrence
from fedgenome.privacy.rules import Linear


def _lstm(rec: Recorder, func: Function, *args: Any, **kwargs: Any) -> Any:
    input, hx, weights, biased, deep, dropout, training, both, batch_first = args
    if training and dropout > 0:
        raise SpecError(DROPOUT)
    x = input if batch_first else input.transpose(0, 1)
    step = 4 if biased else 2
    plain = isinstance(hx, Sequence) and len(weights) == step * deep * (2 if both else 1)  # else projections
    if not (plain and x.dim() == 3 and rec.fits(x) and rec.knows(*weights)):
        return func(*args, **kwargs)
    hidden: list[Tensor] = []
    cells: list[Tensor] = []
    for _ in range(deep):
        outs = []
        for turned in (False, True) if both else (False,):
            k = len(hidden)
            given = x.flip(1) if turned else x
            out, cell = _lstm_layer(rec, given, hx[0][k], hx[1][k], *_four(weights[step * k : step * (k + 1)]))
            hidden.append(out[:, -1])
            cells.append(cell)
            outs.append(out.flip(1) if turned else out)
        x = torch.cat(outs, dim=2) if both else outs[0]
    return (x if batch_first else x.transpose(0, 1)), torch.stack(hidden), torch.stack(cells)


def _four(weights: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    return tuple(weights) if len(weights) == 4 else (*weights, None, None)


def _lstm_layer(rec: Recorder, x: Tensor, hidden: Tensor, cell: Tensor, *weights: Any) -> tuple[Tensor, Tensor]:
    enter, stay, enter_bias, stay_bias = weights
    bias = None if enter_bias is None else enter_bias.detach() + stay_bias.detach()
    gates = functional.linear(x, rec.alone(enter), bias)  # type: ignore[arg-type]
    out, before, last = Recurrence.apply(gates, stay.detach(), hidden, cell)  # type: ignore[no-untyped-call]
    for a, names in ((x, rec.names(enter, enter_bias)), (before, rec.names(stay, stay_bias))):
        rec.note(Linear(names=names, donors=rec.donors, a=a.detach(), outputs=len(enter)), gates)
    return out, last


def _attention(
    rec: Recorder,
    func: Function,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    weight: Tensor | None,
    bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_weight: Tensor,
    out_bias: Tensor | None,
    *,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    **rest: Any,
) -> Any:
    """Self-attention over (positions, rows, width), taken apart into its two Linear layers."""
    if training and dropout_p > 0:
        raise SpecError(DROPOUT)
    ours = query is key and key is value and bias_k is None and bias_v is None and not add_zero_attn
    known = rec.knows(weight, bias, out_weight, out_bias) and query.dim() == 3
    x = query.transpose(0, 1)
    if weight is None or not (ours and known and rec.fits(x)):
        given = query, key, value, width, heads, weight, bias, bias_k, bias_v, add_zero_attn, dropout_p
        masks = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "is_causal": is_causal}
        shown = {"training": training, "need_weights": need_weights, "average_attn_weights": average_attn_weights}
        return func(*given, out_weight, out_bias, **masks, **shown, **rest)
    packed = layers.linear(rec, functional.linear, x, weight, bias)
    q, k, v = packed.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each (rows, heads, positions, features)
    mask = _merged(attn_mask, key_padding_mask, x, heads)
    if need_weights:
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        attended = torch.softmax(scores if mask is None else scores + mask, dim=3)
        mixed = attended @ v
    else:
        attended, mixed = None, functional.scaled_dot_product_attention(q, k, v, mask)
    out = layers.linear(rec, functional.linear, mixed.transpose(1, 2).flatten(2), out_weight, out_bias)
    if attended is not None and average_attn_weights:
        attended = attended.mean(1)
    return out.transpose(0, 1), attended


def _merged(mask: Tensor | None, padding: Tensor | None, x: Tensor, heads: int) -> Tensor | None:
    """Return one mask that is added to scores (rows, heads, positions, positions), or None."""
    merged = None if mask is None else _added(mask, x)
    if merged is not None and merged.dim() == 3:
        merged = merged.view(len(x), heads, *merged.shape[1:])
    if padding is not None:
        more = _added(padding, x)[:, None, None]
        merged = more if merged is None else merged + more
    return merged


def _added(mask: Tensor, x: Tensor) -> Tensor:
    return x.new_zeros(mask.shape).masked_fill_(mask, -math.inf) if mask.dtype == torch.bool else mask


HANDLERS: dict[Any, Function] = {
    **layers.HANDLERS,
    functional.multi_head_attention_forward: _attention,
    torch._VF.lstm: _lstm,
}
