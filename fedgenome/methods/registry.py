"""Methods by kind: what a Study's specs are built from."""

from __future__ import annotations

from fedgenome.errors import SpecError
from fedgenome.methods.base import Method
from fedgenome.study import MethodSpec, Schema


def build(spec: MethodSpec, schema: Schema, donors_bound: int, private: bool) -> Method:
    """Return the method."""
    if spec.kind == "marginals":
        from fedgenome.methods import marginals

        return marginals.Marginals.build(spec, marginals.Options(**spec.options), schema, private)
    if spec.kind in ("cvae", "fedsgd"):
        from fedgenome.methods import fedsgd

        return fedsgd.FedSgd.build(spec, fedsgd.Options(**spec.options), schema, donors_bound, private)
    raise SpecError(f"unknown kind {spec.kind}")
