"""``fedgenome superlink``: the SuperLink of a deployment, with all that must run beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import one_line_errors


def superlink(
    bundle: Annotated[Path, typer.Argument(help="the app bundle", metavar="APP.fab", show_default=False)],
    signatures: Annotated[
        Path, typer.Argument(help="what `app sign` wrote of it", metavar="BUNDLE.json", show_default=False)
    ],
    nodes: Annotated[Path, typer.Option(help="the relays that may connect, from: fedgenome keys approve")],
    tls: Annotated[Path, typer.Option(help="folder of ca.crt, server.crt and server.key")] = Path("tls"),
    state: Annotated[Path, typer.Option(help="folder of the SuperLink's database")] = Path("superlink"),
    jobs: Annotated[Path, typer.Option(help="folder of jobs, as deployment.toml names it")] = Path("jobs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="its port, on all addresses")] = 9092,
    hub: Annotated[int, typer.Option(min=1, max=65535, help="port of the bundle's hub, on loopback")] = 8099,
) -> None:
    """Serve relays and the coordinator until SIGTERM, exit 0; exit 1 once any of its processes ended.

    Runs the SuperLink, its SuperExec and the hub of the signed bundle, and registers the relays of the node list.
    """
    with one_line_errors(False):
        from fedgenome import folders
        from fedgenome.deployment.coordinator.superlink import SuperLink, serve

        found = {"bundle": bundle, "signatures": signatures, "certificates": tls, "state": state, "jobs": jobs}
        made = {name: folders.made(found[name], f"--{name}") for name in ("state", "jobs")}
        paths = {name: path.resolve() for name, path in (found | made).items()}
        raise typer.Exit(serve(SuperLink(port=port, hub=hub, **paths), nodes))
