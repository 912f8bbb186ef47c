"""Records that refuse what they do not know, and what is wrong with one in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fedgenome import toml
from fedgenome.errors import SpecError, did_you_mean


class Strict(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def finding(fault: ValidationError, model: type[BaseModel], word: str = "key") -> str:
    """Say one of pydantic's findings in one line: a misspelt key, with the nearest known one, or else the first.

    Args:
        model: What was validated.
        word: What its fields are called.
    """
    every = fault.errors()  # a misspelt key that must be there is also told as missing, which hides why
    found = next((one for one in every if one["type"] == "extra_forbidden"), every[0])
    where = ".".join(str(part) for part in found["loc"])
    more = f" (and {fault.error_count() - 1} more)" if fault.error_count() > 1 else ""
    if found["type"] == "extra_forbidden":
        known = _inner(model, found["loc"][:-1]).model_fields
        near = did_you_mean(str(found["loc"][-1]), known, f"known {word}s are {', '.join(known)}")
        return f"{where}: unknown {word}; {near}{more}"
    text = found["msg"].removeprefix("Value error, ")
    seen = "" if found["type"] in ("missing", "value_error") else f", got {found['input']!r}"
    return (f"{where}: " if where else "") + f"{text}{seen}{more}"


def _inner(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    for part in loc:
        field = model.model_fields.get(str(part)) if isinstance(part, str) else None
        inner = getattr(field, "annotation", None)
        candidates = [inner, *getattr(inner, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return model


_M = TypeVar("_M", bound=Strict)


def from_toml(
    path: Path, model: type[_M], what: str, adapt: Callable[[dict[str, Any]], dict[str, Any]] = lambda told: told
) -> _M:
    """Read and check a TOML file.

    Args:
        path: The file.
        model: What it holds.
        what: What it should be, for the error.
        adapt: Changes what was read before it is checked.

    Raises:
        SpecError: one line naming file, field, what was found and what would be right.
    """
    told = adapt(toml.read(path, what))
    try:
        return model.model_validate(told)
    except ValidationError as fault:
        raise SpecError(f"{path}: {finding(fault, model)}") from None
