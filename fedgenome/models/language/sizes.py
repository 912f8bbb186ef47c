"""Language models by name: their options, and each architecture at three capacities."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from fedgenome.models.language.convolution import Convolution
from fedgenome.models.language.lstm import Lstm
from fedgenome.models.language.masked import Encoder
from fedgenome.models.language.state_space import StateSpace
from fedgenome.models.language.transformer import Transformer
from fedgenome.strict import Strict

Architecture = Literal["lstm", "transformer", "state-space", "convolution", "masked"]
Capacity = Literal["small", "medium", "large"]
Model = Lstm | Transformer | StateSpace | Convolution | Encoder


class Options(Strict):
    """What a language model is."""

    architecture: Architecture = Field(description="how it reads")
    width: int = Field(ge=1, le=4096, description="features of a position; a multiple of 16 of attention and states")
    layers: int = Field(ge=1, le=64, description="layers, or blocks")


def _three(architecture: Architecture, *sizes: tuple[int, int]) -> Mapping[Capacity, Options]:
    names: tuple[Capacity, ...] = ("small", "medium", "large")
    made = (Options(architecture=architecture, width=width, layers=layers) for width, layers in sizes)
    return MappingProxyType(dict(zip(names, made, strict=True)))


# About 2e4, 1e5 and 5e5 parameters at V = 4 and 128 positions.
CAPACITIES: Mapping[Architecture, Mapping[Capacity, Options]] = MappingProxyType(
    {
        "lstm": _three("lstm", (48, 1), (112, 1), (176, 2)),
        "transformer": _three("transformer", (32, 2), (64, 2), (144, 2)),
        "state-space": _three("state-space", (32, 3), (64, 4), (144, 4)),
        "convolution": _three("convolution", (32, 6), (72, 6), (160, 6)),
        "masked": _three("masked", (32, 2), (64, 2), (144, 2)),
    }
)


def build(options: Options, vocabulary: int, length: int) -> Model:
    """Return a model whose weights are zero, until :mod:`fedgenome.models.parameters` draws or loads them.

    Args:
        options: Architecture and size.
        vocabulary: V.
        length: The most tokens of a row, for models that know positions; others read any number.

    Raises:
        SpecError: A size that makes no model.
    """
    width, layers = options.width, options.layers
    match options.architecture:
        case "lstm":
            return Lstm(vocabulary, width, layers)
        case "transformer":
            return Transformer(vocabulary, width, layers, length)
        case "state-space":
            return StateSpace(vocabulary, width, layers)
        case "convolution":
            return Convolution(vocabulary, width, layers)
        case "masked":
            return Encoder(vocabulary, width, layers, length)
