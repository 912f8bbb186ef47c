"""Among whom a masked release is looked for, and by whom: :class:`LinkageSpec`, the ``[linkage]`` table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from fedgenome.audit.linkage.matcher import ERROR
from fedgenome.errors import SpecError
from fedgenome.strict import Strict, finding


class LinkageSpec(Strict):
    """Among whom a masked release is looked for, and by whom. What passes is the policy's ``linkage``."""

    panel: Path | None = Field(
        default=None, description="second .h5ad of the same people; absent: a second look made from the rows themselves"
    )
    id: str | None = Field(default=None, description="obs column of its people's ids; absent: its row names")
    share: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="of the people in both: attackers are fitted to them, and judged on others",
    )
    decoys: float = Field(
        default=0.0, ge=0, lt=1, description="of those judged: their record is taken out of the panel"
    )
    error: float = Field(
        default=ERROR, gt=0, lt=1, description="of a second look that is made, where there is no panel"
    )
    label: bool = Field(default=True, description="each row's class leaves with it, and attackers know it")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.panel is None and self.id is not None:
            raise ValueError("expected id only with a panel, whose column it names")
        return self


def linkage_spec(told: Mapping[str, object]) -> LinkageSpec:
    """Return the spec that options give.

    Raises:
        SpecError: one breaks its rule.
    """
    try:
        return LinkageSpec.model_validate(told)
    except ValidationError as fault:
        raise SpecError(f"linkage: {finding(fault, LinkageSpec, 'option')}") from None
