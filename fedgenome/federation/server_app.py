"""The Flower ServerApp of the coordinator."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedgenome.errors import SpecError


def make(conduct: Callable[[Grid], None]) -> ServerApp:
    """Return the ServerApp whose main is ``conduct``."""
    server = ServerApp()

    @server.main()
    def main(grid: Grid, _: Context) -> None:
        conduct(grid)

    return server


def _undeployed(_: Grid) -> None:
    raise SpecError("expected a coordinator started by `fedgenome run`; a SuperLink deployment is not supported yet")


app = make(_undeployed)
