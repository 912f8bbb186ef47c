"""Which layers a loss used, with what inputs, and where the gradients of their outputs come by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from fedgenome.privacy.rules import Use

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noted:
    """A use, the version of its input then, and where its gradient comes by."""

    use: Use
    version: int
    edge: GradientEdge


class Recorder(TorchFunctionMode):
    """Notes the uses of a model's parameters in one block of rows, while it is entered.

    Calls of torch's functions go through its handlers. A handler computes with stand-ins in place of the
    parameters and notes a :class:`~fedgenome.privacy.rules.Use`. A call without a handler, or whose arguments do
    not fit, goes on as it is: autograd then finds a gradient at the parameter itself, which has no rule.

    Args:
        handlers: By function; called with the recorder, the function and its arguments.
        named: The parameters by name.
        alone: Stand-ins for them: the same numbers as variables of their own.
        rows: Rows of the block; a layer's inputs have them first.
        donors: Donors of the block, of equally many rows each.

    Attributes:
        uses: Those noted.
        lengths: What inputs have for dimensions between rows and features. Where ``rows`` is among them, it is
            not certain that rows come first.
    """

    def __init__(
        self,
        handlers: Mapping[Any, Function],
        named: Mapping[str, Tensor],
        alone: Mapping[str, Tensor],
        rows: int,
        donors: int,
    ) -> None:
        super().__init__()
        self._handlers = handlers
        self.rows, self.donors = rows, donors
        self.uses: list[Noted] = []
        self.lengths: set[int] = set()
        self._names = {id(parameter): name for name, parameter in named.items()}
        self._alone = alone

    def __torch_function__(
        self, func: Function, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        handler = self._handlers.get(func)
        return func(*args, **(kwargs or {})) if handler is None else handler(self, func, *args, **(kwargs or {}))

    def knows(self, *parameters: Any) -> bool:
        """Whether all are parameters of the model; None stands for a bias that is not there."""
        return all(parameter is None or id(parameter) in self._names for parameter in parameters)

    def names(self, *parameters: Tensor | None) -> tuple[str, ...]:
        """Return the names of those that are there."""
        return tuple(self._names[id(parameter)] for parameter in parameters if parameter is not None)

    def alone(self, parameter: Tensor | None) -> Tensor | None:
        """Return a parameter's stand-in."""
        return None if parameter is None else self._alone[self._names[id(parameter)]]

    def fits(self, x: Any) -> bool:
        """Whether ``x`` has this block's rows first and something in each."""
        return isinstance(x, Tensor) and x.dim() >= 2 and x.shape[0] == self.rows and x.numel() > 0

    def note(self, use: Use, out: Tensor) -> None:
        """Keep a use. The edge, not the output: an activation in place would put its own gradient there."""
        self.lengths.update(use.a.shape[1:-1])
        self.uses.append(Noted(use=use, version=use.a._version, edge=get_gradient_edge(out)))
