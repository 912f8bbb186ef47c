"""Flower's command line as a coordinator uses it: register relays, submit a run, ask how it is, stop it.

A connection has a ``FLWR_HOME`` of its own, so that no configuration of the user's decides where a run goes.
With ``--format json`` the exit code is 0 whatever happened; ``success`` tells.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgenome.closing import Closing
from fedgenome.errors import RoleError

_FLWR = "from flwr.cli.app import app; app()"  # wherever flwr is installed, on the PATH or not
_CONNECTION = "deployment"
_REGISTER = f"""
import json, sys
from flwr.cli.app import app
said = {{}}
for name in sys.argv[1:]:  # in one process: each start of it takes seconds
    try:
        app(["supernode", "register", f"{{name}}.pub", "{_CONNECTION}", "--name", name], standalone_mode=False)
    except Exception as fault:
        said[name] = str(fault)
print(json.dumps(said))
"""
_COMMAND_SECONDS = 120.0
_SECONDS_EACH = 30.0  # more for every relay that is registered
_AWAY = "SuperLink is unavailable"  # what Flower says when nobody listens there
_ENDED = "finished:"


class Away(RoleError):
    """Nobody answers at the SuperLink's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a Flower run is.

    Attributes:
        word: ``pending``, ``starting``, ``running``, or ``finished:completed``, ``:failed``, ``:stopped``.
        details: What Flower says about it.
    """

    word: str
    details: str

    @property
    def over(self) -> bool:
        """True once it has ended."""
        return self.word.startswith(_ENDED)


class Flower(Closing):
    """A connection to one SuperLink.

    Args:
        address: Host and port.
        certificates: Certificate of the authority that signed the SuperLink's; None: no TLS.
    """

    def __init__(self, address: str, certificates: Path | None) -> None:
        self._address = address
        self._home = tempfile.TemporaryDirectory(prefix="fedgenome-flower-")
        trusted = "insecure = true" if certificates is None else f"root-certificates = {json.dumps(str(certificates))}"
        config = f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\n'
        text = f"{config}address = {json.dumps(address)}\n{trusted}\n"
        (Path(self._home.name) / "config.toml").write_text(text, encoding="utf-8")

    def submit(self, app: str, config: Mapping[str, str]) -> str:
        """Submit a run of ``app`` and return Flower's id of it. That it was taken says nothing of how it will end.

        Args:
            app: ``@publisher/name==version`` of the SuperLink's hub, or a folder.
            config: Run configuration; its keys must be in the app's ``pyproject.toml``.

        Raises:
            Away: nobody listens.
            RoleError: it was refused; says why.
        """
        given = " ".join(f"{name}={json.dumps(value)}" for name, value in config.items())
        return str(self._ask("run", app, _CONNECTION, "--run-config", given)["run-id"])

    def standing(self, run: str) -> Standing | None:
        """Return how a run is; None if the SuperLink knows none of this id.

        Raises:
            Away: nobody listens.
        """
        try:
            (told,) = self._ask("list", _CONNECTION, "--run-id", run)["runs"]
        except Away:
            raise
        except (RoleError, ValueError):
            return None
        return Standing(word=str(told["status"]), details=str(told["status-details"]))

    def stop(self, run: str) -> None:
        """End a run.

        Raises:
            Away: nobody listens.
            RoleError: it has ended already.
        """
        self._ask("stop", run, _CONNECTION)

    def register(self, keys: Mapping[str, str]) -> None:
        """Register relays' node keys under their roles' names. One that is registered already stays as it is.

        Args:
            keys: Name → key, ``ecdsa-sha2-nistp384 …``.

        Raises:
            Away: nobody listens.
            RoleError: one was refused, with what was said.
        """
        for name, key in keys.items():
            (Path(self._home.name) / f"{name}.pub").write_text(f"{key}\n")
        done = self._run(_REGISTER, *keys, seconds=_COMMAND_SECONDS + _SECONDS_EACH * len(keys))
        if done.returncode:
            raise RoleError(f"flwr supernode register: {' '.join(done.stderr.split())}")
        for name, text in json.loads(done.stdout.splitlines()[-1]).items():
            if "already in use" not in text:  # registered by a process that died before it noted so
                raise RoleError(f"flwr supernode register --name {name}: {' '.join(text.split())}")

    def close(self) -> None:
        """Remove the connection's folder."""
        self._home.cleanup()

    def _ask(self, command: str, *arguments: str) -> dict[str, Any]:
        ended = self._run(_FLWR, command, *arguments, "--format", "json")
        told = _object(ended.stdout)
        if told.get("success") is True:
            return told
        text = str(told.get("error-message") or ended.stderr)
        if _AWAY in text:
            raise Away(f"the SuperLink at {self._address} cannot be reached")
        said = " ".join(text.split("\n\n")[-1].split())
        raise RoleError(f"the SuperLink at {self._address} refuses to {command}: {said}")

    def _run(
        self, program: str, *arguments: str, seconds: float = _COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"FLWR_HOME": self._home.name}
        environment |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        try:
            return subprocess.run(
                [sys.executable, "-P", "-c", program, *arguments],
                env=environment,
                cwd=self._home.name,  # nothing of the user's folder is read
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Away(f"the SuperLink at {self._address} gave no answer for {seconds:g} s") from None


def _object(text: str) -> dict[str, Any]:
    """Return the JSON object that the command printed, after whatever it said before."""
    try:
        told = json.loads(text[text.index("{") :])
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
