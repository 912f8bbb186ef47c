"""Which kinds of method there are, and how one is built from its spec. A kind is loaded when it is built."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import pydantic

from fedgenome.errors import SpecError, require
from fedgenome.methods.base import Method
from fedgenome.study import MethodSpec, Schema, Strict

_Options = TypeVar("_Options", bound=Strict)
_Build = Callable[[MethodSpec, Schema, int, bool], Method]


def build(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    """Return the method that ``spec`` describes, from public facts only.

    Args:
        donors_bound: Public bound on the donors of all sites.
        private: False under trust none: its questions then have no mechanism, its plan is empty.

    Raises:
        SpecError: unknown kind, unknown option, or an option that breaks its rule; names which.
    """
    require(donors_bound >= 1, "donors_bound >= 1", donors_bound=donors_bound)
    if spec.kind not in KINDS:
        raise SpecError(f"methods.{spec.label}.kind: expected one of {', '.join(KINDS)}, got {spec.kind!r}")
    return KINDS[spec.kind](spec, schema, donors_bound, private)


def _marginals(spec: MethodSpec, schema: Schema, _donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.marginals import Marginals, Options

    return Marginals.build(spec, _options(spec, Options), schema, private)


def _fedsgd(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.fedsgd import FedSgd, Options  # loads torch
    from fedgenome.methods.preludes import Preceded, Whole
    from fedgenome.methods.quantile_clip import QuantileClip
    from fedgenome.methods.standardise import Standardise

    options = _options(spec, Options)
    method: Whole = FedSgd.build(spec, options, schema, donors_bound, private)
    factor = spec.noise * options.preludes_noise
    if options.clip_quantile is not None:
        clip = QuantileClip(middle=options.clip, quantile=options.clip_quantile, sampling=options.sampling)
        method = Preceded(method=method, prelude=clip, factor=factor, private=private)
    if options.normalise != "off":
        standardise = Standardise(schema=schema, by=options.normalise)
        method = Preceded(method=method, prelude=standardise, factor=factor, private=private)
    return method


KINDS: Mapping[str, _Build] = MappingProxyType(
    {
        "marginals": _marginals,
        "cvae": _fedsgd,  # shorthand for fedsgd with its model "cvae"
        "fedsgd": _fedsgd,
    }
)


def _options(spec: MethodSpec, model: type[_Options]) -> _Options:
    try:
        return model.model_validate(spec.options)
    except pydantic.ValidationError as fault:
        raise SpecError(f"methods.{spec.label}.options.{_first(fault, model)}") from None


def _first(fault: pydantic.ValidationError, model: type[Strict]) -> str:
    """Say the first finding in one line: field, rule, what was seen."""
    found = fault.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "extra_forbidden":
        close = difflib.get_close_matches(where, model.model_fields, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known options are {', '.join(model.model_fields)}"
        return f"{where}: unknown option; {hint}"
    return f"{where}: {found['msg']}, got {found['input']!r}"
