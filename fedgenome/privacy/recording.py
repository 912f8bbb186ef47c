"""Which layers a loss used, with what inputs, and where the gradients of their outputs come by.

While a :class:`Recorder` is entered, calls of torch's layer functions with parameters of the model go
through the handlers below. A handler computes with stand-ins (the same numbers, but not the parameters)
and notes a :class:`~fedgenome.privacy.rules.Use`. A call that no handler knows, or whose arguments do not fit,
goes on as it is: then autograd finds a gradient at the parameter itself, and its layer has no rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fedgenome.errors import SpecError
from fedgenome.privacy.recurrent import Recurrence
from fedgenome.privacy.rules import Convolution, Linear, Lookup, Scale, Use

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noted:
    """A use, the version of its input then, and where its gradient comes by."""

    use: Use
    version: int
    edge: GradientEdge


class Recorder(TorchFunctionMode):
    """Notes the uses of a model's parameters in one block of rows.

    Args:
        named: The parameters by name.
        rows: Rows of the block; a layer's inputs have them first.
        donors: Donors of the block, of equally many rows each.

    Attributes:
        uses: Those noted.
        lengths: What inputs have for dimensions between rows and features. Where ``rows`` is among them, it is
            not certain that rows come first.
    """

    def __init__(self, named: Mapping[str, Tensor], rows: int, donors: int) -> None:
        super().__init__()
        self.rows, self.donors = rows, donors
        self.uses: list[Noted] = []
        self.lengths: set[int] = set()
        self._names = {id(parameter): name for name, parameter in named.items()}

    def __torch_function__(
        self, func: Function, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        handler = _HANDLERS.get(func)
        return func(*args, **(kwargs or {})) if handler is None else handler(self, func, *args, **(kwargs or {}))

    def knows(self, *parameters: Any) -> bool:
        """Whether all are parameters of the model; None stands for a bias that is not there."""
        return all(parameter is None or id(parameter) in self._names for parameter in parameters)

    def names(self, *parameters: Tensor | None) -> tuple[str, ...]:
        """Return the names of those that are there."""
        return tuple(self._names[id(parameter)] for parameter in parameters if parameter is not None)

    def fits(self, x: Any) -> bool:
        """Whether ``x`` has this block's rows first and something in each."""
        return isinstance(x, Tensor) and x.dim() >= 2 and len(x) == self.rows and x.numel() > 0

    def note(self, use: Use, out: Tensor) -> None:
        """Keep a use. The edge, not the output: an activation in place would put its own gradient there."""
        self.lengths.update(use.a.shape[1:-1])
        self.uses.append(Noted(use=use, version=use.a._version, edge=get_gradient_edge(out)))


def _alone(parameter: Tensor | None) -> Tensor | None:
    """Return the same numbers as a variable of its own."""
    return None if parameter is None else parameter.detach().requires_grad_()


def _linear(rec: Recorder, func: Function, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    if not (rec.fits(input) and rec.knows(weight, bias)):
        return func(input, weight, bias)
    out = func(input, _alone(weight), _alone(bias))
    names = rec.names(weight, bias)
    rec.note(Linear(names=names, donors=rec.donors, a=input.detach(), outputs=len(weight)), out)
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
    out = func(input, _alone(weight), _alone(bias), stride, padding, dilation, groups)
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
    out = func(input, _alone(weight), *rest)
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
    out = func(input, normalized_shape, _alone(weight), _alone(bias), eps)
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
    out = func(input, num_groups, _alone(weight), _alone(bias), eps)
    with torch.no_grad():
        a = func(input, num_groups, None, None, eps)
    rec.note(Scale(names=rec.names(weight, bias), donors=rec.donors, a=a, channels=1), out)
    return out


def _lstm(rec: Recorder, func: Function, *args: Any, **kwargs: Any) -> Any:
    input, hx, weights, biased, layers, dropout, training, both, batch_first = args
    if training and dropout > 0:
        raise SpecError(_DROPOUT)
    x = input if batch_first else input.transpose(0, 1)
    step = 4 if biased else 2
    plain = isinstance(hx, Sequence) and len(weights) == step * layers * (2 if both else 1)  # else projections
    if not (plain and x.dim() == 3 and rec.fits(x) and rec.knows(*weights)):
        return func(*args, **kwargs)
    hidden, cells = [], []
    for layer in range(layers):
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
    gates = functional.linear(x, _alone(enter), bias)  # type: ignore[arg-type]
    out, before, last = Recurrence.apply(gates, stay.detach(), hidden, cell)  # type: ignore[no-untyped-call]
    for a, names in ((x, rec.names(enter, enter_bias)), (before, rec.names(stay, stay_bias))):
        rec.note(Linear(names=names, donors=rec.donors, a=a.detach(), outputs=len(enter)), gates)
    return out, last


_DROPOUT = "Dropout draws by position in the batch; take draws as an input instead"


def _dropout(
    rec: Recorder, func: Function, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Any:
    if training and p > 0:
        raise SpecError(_DROPOUT)
    return func(input, p, training, inplace)


def _batch_norm(rec: Recorder, func: Function, *args: Any, **kwargs: Any) -> Any:
    raise SpecError("BatchNorm mixes donors; use GroupNorm or none")


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
        raise SpecError(_DROPOUT)
    ours = query is key and key is value and bias_k is None and bias_v is None and not add_zero_attn
    known = weight is not None and rec.knows(weight, bias, out_weight, out_bias) and query.dim() == 3
    x = query.transpose(0, 1)
    if not (ours and known and rec.fits(x)):
        given = query, key, value, width, heads, weight, bias, bias_k, bias_v, add_zero_attn, dropout_p
        masks = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "is_causal": is_causal}
        shown = {"training": training, "need_weights": need_weights, "average_attn_weights": average_attn_weights}
        return func(*given, out_weight, out_bias, **masks, **shown, **rest)
    packed = _linear(rec, functional.linear, x, weight, bias)
    q, k, v = packed.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each (rows, heads, positions, features)
    mask = _merged(attn_mask, key_padding_mask, x, heads)
    if need_weights:
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        attended = torch.softmax(scores if mask is None else scores + mask, dim=3)
        mixed = attended @ v
    else:
        attended, mixed = None, functional.scaled_dot_product_attention(q, k, v, mask)
    out = _linear(rec, functional.linear, mixed.transpose(1, 2).flatten(2), out_weight, out_bias)
    if attended is not None and average_attn_weights:
        attended = attended.mean(1)
    return out.transpose(0, 1), attended


def _merged(mask: Tensor | None, padding: Tensor | None, x: Tensor, heads: int) -> Tensor | None:
    """Return one mask that is added to scores (rows, heads, positions, positions), or None."""
    merged = None if mask is None else _added(mask, x)
    if merged is not None and merged.dim() == 3:
        merged = merged.unflatten(0, (len(x), heads))
    if padding is not None:
        more = _added(padding, x)[:, None, None]
        merged = more if merged is None else merged + more
    return merged


def _added(mask: Tensor, x: Tensor) -> Tensor:
    return x.new_zeros(mask.shape).masked_fill_(mask, -math.inf) if mask.dtype == torch.bool else mask


_HANDLERS: dict[Any, Function] = {
    functional.linear: _linear,
    functional.conv1d: _conv1d,
    functional.embedding: _embedding,
    functional.layer_norm: _layer_norm,
    functional.group_norm: _group_norm,
    functional.multi_head_attention_forward: _attention,
    functional.batch_norm: _batch_norm,
    torch._VF.lstm: _lstm,
} | dict.fromkeys(
    (
        functional.dropout,
        functional.dropout1d,
        functional.dropout2d,
        functional.dropout3d,
        functional.alpha_dropout,
        functional.feature_alpha_dropout,
    ),
    _dropout,
)
