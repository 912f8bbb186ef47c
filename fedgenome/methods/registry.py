"""Which kinds of method there are, and how one is built from its spec. A kind is loaded when it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import pydantic

from fedgenome.errors import SpecError, require
from fedgenome.methods.base import Following, Method, Placed
from fedgenome.strict import Strict, finding
from fedgenome.study import MethodSpec, Schema, Study, TrustModel

_Options = TypeVar("_Options", bound=Strict)
_Build = Callable[[MethodSpec, Schema, int, bool], Method]


def build_all(study: Study) -> dict[str, Method]:
    """Return every method of ``study`` by its label, under the study's trust model: what all roles build.

    Raises:
        SpecError: see :func:`build`.
    """
    trust, sites = study.privacy.trust, len(study.roster)
    methods = {
        spec.label: build(spec, study.schema_, study.donors_bound, trust != "none", trust=trust, sites=sites)
        for spec in study.methods
    }
    return _with_holdout(study, methods)


def _with_holdout(study: Study, methods: dict[str, Method]) -> dict[str, Method]:
    """Tell the methods about held donors what is held.

    Raises:
        SpecError: nobody is held for them, no method is about those who are, or one has nothing before it to be about.
    """
    earlier: dict[str, Method] = {}
    following = [label for label, method in methods.items() if isinstance(method, Following)]
    if bool(following) != (study.holdout is not None):
        needs = f"methods.{following[0]}: expected a [holdout] beside it" if following else "holdout: expected none"
        raise SpecError(f"{needs}; a method of kind membership and a [holdout] need one another")
    for label, method in methods.items():
        if isinstance(method, Following) and study.holdout is not None:
            method.followed(earlier)
            earlier[label] = method.holding(len(study.roster), study.holdout.canaries)
        else:
            earlier[label] = method
    return earlier


def build(
    spec: MethodSpec,
    schema: Schema,
    donors_bound: int,
    private: bool,
    *,
    trust: TrustModel = "distributed",
    sites: int = 1,
) -> Method:
    """Return the method that ``spec`` describes, from public facts only.

    Args:
        donors_bound: Public bound on the donors of all sites.
        private: False under trust none: its questions then have no mechanism, its plan is empty.
        trust: The study's trust model, where it is private.
        sites: Number of sites.

    Raises:
        SpecError: unknown kind, a kind for other rows than the schema's, unknown option, an option that breaks its
            rule, or a method that has no form under ``trust``; names which.
    """
    require(donors_bound >= 1, "donors_bound >= 1", donors_bound=donors_bound)
    if spec.kind not in KINDS:
        raise SpecError(f"methods.{spec.label}.kind: expected one of {', '.join(KINDS)}, got {spec.kind!r}")
    check_rows(spec, schema)
    method = KINDS[spec.kind](spec, schema, donors_bound, private)
    if isinstance(method, Placed):
        return method.under(trust if private else "none", sites)
    if trust == "site" and private:
        raise SpecError(
            f"methods.{spec.label}: trust 'site' needs one clipped vector of a whole site, which this method does not "
            "send; expected kind cvae, deeptype or language with options.local_steps, or trust 'distributed' or 'local'"
        )
    return method


def check_rows(spec: MethodSpec, schema: Schema) -> None:
    """Refuse a method of expression on codes of tokens, one of sequences on expression, one of dosages on either.

    Raises:
        SpecError: it is so.
    """
    if spec.kind in EITHER:
        return
    field, coded = f"methods.{spec.label}.kind", schema.tokens is not None
    if coded and spec.kind not in SEQUENCES:
        kinds = ", ".join(sorted(SEQUENCES))
        raise SpecError(f"{field}: expected a method of sequences ({kinds}), as rows are tokens, got {spec.kind!r}")
    if not coded and spec.kind in SEQUENCES:
        raise SpecError(f"{field}: expected a method of expression, as the schema has no tokens, got {spec.kind!r}")
    if spec.kind in DOSAGES and not schema.dosages:
        raise SpecError(f"{field}: expected a cohort of scale = 'dosage' for a method of genotypes, got {spec.kind!r}")


def _marginals(spec: MethodSpec, schema: Schema, _donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.marginals import Marginals, Options

    return Marginals.build(spec, _options(spec, Options), schema, private)


def _fedsgd(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.fedavg import FedAvg
    from fedgenome.methods.fedsgd import FedSgd, Options  # loads torch
    from fedgenome.methods.preludes import Generating, PrecededGenerator
    from fedgenome.methods.quantile_clip import QuantileClip
    from fedgenome.methods.standardise import Standardise

    options = _options(spec, Options)
    if options.local_steps is not None:
        precede = options.clip_quantile is not None or options.normalise != "off"
        require(not precede, f"methods.{spec.label}.options: no prelude (normalise, clip_quantile) with local_steps")
        return FedAvg.build(spec, options, schema, donors_bound, private)
    method: Generating = FedSgd.build(spec, options, schema, donors_bound, private)
    factor = spec.noise * options.preludes_noise
    if options.clip_quantile is not None:
        clip = QuantileClip(middle=options.clip, quantile=options.clip_quantile, sampling=options.sampling)
        method = PrecededGenerator(method=method, prelude=clip, factor=factor, private=private)
    if options.normalise != "off":
        standardise = Standardise(schema=schema, by=options.normalise)
        method = PrecededGenerator(method=method, prelude=standardise, factor=factor, private=private)
    return method


def _linear(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.linear import Linear, Options  # loads torch

    return Linear.build(spec, _options(spec, Options), schema, donors_bound, private)


def _deeptype(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.deeptype import DeepType, DeepTypeAtHome, Options  # loads torch
    from fedgenome.methods.preludes import PrecededClassifier
    from fedgenome.methods.standardise import Standardise

    options = _options(spec, Options)
    if options.local_steps is not None:
        require(options.normalise == "off", f"methods.{spec.label}.options: no prelude (normalise) with local_steps")
        return DeepTypeAtHome.build(spec, options, schema, donors_bound, private)
    method = DeepType.build(spec, options, schema, donors_bound, private)
    if options.normalise == "off":
        return method
    standardise, factor = Standardise(schema=schema, by=options.normalise), spec.noise * options.preludes_noise
    return PrecededClassifier(method=method, prelude=standardise, factor=factor, private=private)


def _factors(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.factors import Factors, Options

    return Factors.build(spec, _options(spec, Options), schema, donors_bound, private)


def _gaussian(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.gaussian import Gaussian, Options

    return Gaussian.build(spec, _options(spec, Options), schema, donors_bound, private)


def _inverted(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.inverted import Inverted, Options

    return Inverted.build(spec, _options(spec, Options), schema, donors_bound, private)


def _language(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.language import Language, LanguageAtHome, Options  # loads torch

    options = _options(spec, Options)
    method = Language if options.local_steps is None else LanguageAtHome
    return method.build(spec, options, schema, donors_bound, private)


def _afml(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.afml import Afml, Options  # loads torch

    return Afml.build(spec, _options(spec, Options), schema, donors_bound, private)


def _masking(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.masking import Masking, MaskingAtHome, Options  # loads torch

    options = _options(spec, Options)
    method = Masking if options.local_steps is None else MaskingAtHome
    return method.build(spec, options, schema, donors_bound, private)


def _membership(spec: MethodSpec, schema: Schema, _donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.membership import Membership, Options

    return Membership.build(spec, _options(spec, Options), schema, private)


def _frequencies(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.frequencies import Frequencies, Options

    return Frequencies.build(spec, _options(spec, Options), schema, donors_bound, private)


def _genotypes(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.genotypes import Genotypes, Options

    return Genotypes.build(spec, _options(spec, Options), schema, donors_bound, private)


def _tree(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    from fedgenome.methods.tree import Options, Tree

    return Tree.build(spec, _options(spec, Options), schema, donors_bound, private)


SEQUENCES = frozenset({"language"})  # kinds whose rows are codes of tokens; all others read expression
DOSAGES = frozenset({"genotypes", "frequencies"})  # kinds whose rows are dosages, and nothing else
EITHER = frozenset({"membership"})  # but these, which read what the method before them does
KINDS: Mapping[str, _Build] = MappingProxyType(
    {
        "marginals": _marginals,
        "cvae": _fedsgd,  # shorthand for fedsgd with its model "cvae"
        "fedsgd": _fedsgd,
        "linear": _linear,
        "deeptype": _deeptype,
        "factors": _factors,
        "gaussian": _gaussian,
        "inverted": _inverted,
        "tree": _tree,
        "genotypes": _genotypes,
        "frequencies": _frequencies,
        "membership": _membership,
        "masking": _masking,
        "afml": _afml,
        "language": _language,
    }
)


def _options(spec: MethodSpec, model: type[_Options]) -> _Options:
    try:
        return model.model_validate(spec.options)
    except pydantic.ValidationError as fault:
        raise SpecError(f"methods.{spec.label}.options.{finding(fault, model, 'option')}") from None
