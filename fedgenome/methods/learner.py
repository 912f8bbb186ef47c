"""What methods that learn in rounds are built from: options, public facts, and one calibrated noise level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

from fedgenome.strict import Strict
from fedgenome.study import MethodSpec, Schema

Options = TypeVar("Options", bound=Strict)


@dataclass(frozen=True, kw_only=True)
class Learner(Generic[Options]):
    """A method before its noise is known, and after.

    Attributes:
        name: Label of the spec.
        options: The spec's options.
        schema: Public facts about the data.
        donors_bound: Public bound on the donors of all sites; sums are divided by it, never by a batch's size.
        factor: Noise relative to the study's other methods.
        private: False under trust none: no mechanism, so that every round uses every donor.
        noise: The calibrated noise level; None until :meth:`at`.
    """

    name: str
    options: Options
    schema: Schema
    donors_bound: int
    factor: float
    private: bool
    noise: float | None = None

    @classmethod
    def build(cls, spec: MethodSpec, options: Options, schema: Schema, donors_bound: int, private: bool) -> Self:
        """Return the method that ``spec`` describes."""
        return cls(
            name=spec.label,
            options=options,
            schema=schema,
            donors_bound=donors_bound,
            factor=spec.noise,
            private=private,
        )

    def at(self, noise: float) -> Self:
        """Return this method with its noise level set."""
        return replace(self, noise=noise)
