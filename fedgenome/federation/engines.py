"""Where the Flower apps run: in this process (``local``), or in Flower's simulation engine (``ray``)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid

from fedgenome.errors import FedgenomeError
from fedgenome.federation import agents as sockets
from fedgenome.federation import server_app, site_app
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.site import SiteAgent

Engine = Literal["local", "ray"]


def run(engine: Engine, conduct: Callable[[Grid], None], agents: Sequence[SiteAgent]) -> None:
    """Run the coordinator's ``conduct`` against ``agents`` on ``engine``."""
    (_local if engine == "local" else _ray)(conduct, agents)


def _local(conduct: Callable[[Grid], None], agents: Sequence[SiteAgent]) -> None:
    client = site_app.make(lambda context: agents[int(context.node_config["partition-id"])].handle)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    server_app.make(conduct)(LocalGrid(client, len(agents)), context)


def _ray(conduct: Callable[[Grid], None], agents: Sequence[SiteAgent]) -> None:
    """Run under Flower's Ray engine: its actors reach the agents of this process by socket."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    from flwr.simulation import run_simulation  # loads ray

    faults: list[Exception] = []

    def guarded(grid: Grid) -> None:
        try:
            conduct(grid)
        except FedgenomeError as fault:  # Flower would turn it into a message of its own
            faults.append(fault)

    handles = [agent.handle for agent in agents]
    with tempfile.TemporaryDirectory(prefix="fedgenome-") as folder, sockets.served(handles, Path(folder)):
        run_simulation(
            server_app=server_app.make(guarded),
            client_app=site_app.app,
            num_supernodes=len(agents),
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False},
            },
        )
    if faults:
        raise faults[0]
