"""A compose project of its own name, for tests: up, down, and what may befall its services in between."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedgenome import __version__


def compose_command() -> list[str]:
    """Return ``docker compose``, or ``docker-compose`` where there is no plugin."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    return ["docker", "compose"] if plugin.returncode == 0 else [str(shutil.which("docker-compose"))]


def docker(*arguments: str, check: bool = True) -> str:
    """Run the engine's command line and return what it printed; without ``check``, on either stream."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout if check else done.stdout + done.stderr


def inspect(kind: str, name: str) -> dict:
    """Return what the engine knows of an image, container, network or volume."""
    return json.loads(docker(kind, "inspect", name))[0]


_PATIENCE = {"COMPOSE_HTTP_TIMEOUT": "600"}  # seconds: a busy engine may take more than compose's own 60 for a start


@dataclass(frozen=True, kw_only=True)
class Project:
    """A compose project.

    Attributes:
        name: Its name, the prefix of its containers, networks and volumes.
        root: The repository.
        file: Its compose file.
        environment: The file's variables: EXPERIMENT_FILE, TLS.
    """

    name: str
    root: Path
    file: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def _compose(self) -> list[str]:
        return [*compose_command(), "-p", self.name, "--project-directory", str(self.root), "-f", str(self.file)]

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of compose on this project; both its streams are the process's output."""
        env = os.environ | _PATIENCE | self.environment
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen([*self._compose, *arguments], env=env, text=True, **streams)

    def compose(self, *arguments: str, check: bool = True, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command of compose on this project."""
        env = os.environ | _PATIENCE | self.environment
        done = subprocess.run(
            [*self._compose, *arguments], env=env, capture_output=True, text=True, timeout=seconds, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"compose {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def up(self, *services: str) -> None:
        """Start services (all without a profile unless named) from images that are there."""
        self.compose("up", "-d", "--no-build", *services)

    def down(self) -> None:
        """Remove every container, network and volume of the project."""
        self.compose("--profile", "run", "down", "-v", "--remove-orphans", "-t", "2")

    def config(self) -> dict:
        """Return the composed file as compose understands it, coordinator included."""
        import yaml

        return yaml.safe_load(self.compose("--profile", "run", "config").stdout)

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or not."""
        label = ("label=com.docker.compose.project=" + self.name, "label=com.docker.compose.service=" + service)
        return docker("ps", "-aq", "--filter", label[0], "--filter", label[1]).strip()

    def state(self, service: str) -> dict:
        """Return the engine's state of a service: Running, ExitCode, Health …"""
        return inspect("container", self.container(service))["State"]

    def states(self) -> dict[str, dict]:
        """Return the same of all services, in two questions."""
        ids = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}").split()
        told = json.loads(docker("inspect", *ids))
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one["State"] for one in told}

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside a running service, as its user."""
        done = ["docker", "exec", self.container(service), *command]
        return subprocess.run(done, capture_output=True, text=True, timeout=120, check=False)

    def python(self, service: str, code: str) -> subprocess.CompletedProcess[str]:
        """Run Python code inside a running service."""
        return self.run_in(service, "python3", "-c", code)

    def kill(self, service: str, signal: str = "KILL") -> None:
        """Send a signal to a service's first process; KILL is not followed by a restart."""
        docker("kill", "--signal", signal, self.container(service))

    def start(self, service: str) -> None:
        """Start a service's stopped container again, with its volumes."""
        docker("start", self.container(service))

    def pause(self, service: str) -> None:
        """Freeze a service: it neither answers nor hangs up."""
        docker("pause", self.container(service))

    def resume(self, service: str) -> None:
        """Let a frozen service go on."""
        docker("unpause", self.container(service))

    def cut(self, service: str, network: str) -> None:
        """Pull a service's cable out of a network."""
        docker("network", "disconnect", f"{self.name}_{network}", self.container(service))

    def mend(self, service: str, network: str) -> None:
        """Plug the cable in again, under the service's name."""
        docker("network", "connect", "--alias", service, f"{self.name}_{network}", self.container(service))

    def restart(self, service: str) -> None:
        """End a service and start it again: what is mounted from files of this machine is looked up anew."""
        docker("restart", "-t", "5", self.container(service))

    def logs(self, service: str, since: float | None = None, *options: str) -> str:
        """Return what a service wrote on both streams, since a Unix time if one is given."""
        recent = () if since is None else ("--since", f"{since:.3f}")
        return docker("logs", *recent, *options, self.container(service), check=False)

    def wait_said(self, service: str, pattern: str, since: float, seconds: float = 900) -> tuple[str, float]:
        """Wait for a line of a service's log; return what matches, and the seconds from ``since`` (Unix time) to it."""
        ends = time.monotonic() + seconds
        while True:
            for line in self.logs(service, since, "--timestamps").splitlines():
                written, _, text = line.partition(" ")
                if found := re.search(pattern, text):
                    return found[0], datetime.datetime.fromisoformat(written).timestamp() - since
            if time.monotonic() > ends:
                raise AssertionError(f"{service} does not say {pattern!r}: {self.logs(service, since)[-3000:]}")
            time.sleep(2)

    def conduct(self, *options: str, seconds: float = 1200) -> subprocess.CompletedProcess[str]:
        """Run the experiment through the coordinator, with options of ``fedgenome run``."""
        command = ("run", "--rm", "--no-deps", "-T", "coordinator", *options)
        return self.compose(*command, check=False, seconds=seconds)

    def results(self, folder: Path) -> Path:
        """Copy the folders of all runs into ``folder``."""
        command = ["docker", "run", "--rm", "-v", f"{self.name}_runs:/runs:ro", "--entrypoint", "tar"]
        packed = subprocess.run(
            [*command, f"fedgenome-coordinator:{__version__}", "-C", "/runs", "-c", "."],
            capture_output=True,
            check=True,
        )
        subprocess.run(["tar", "-C", str(folder), "-x"], input=packed.stdout, check=True)
        return folder

    def wait_healthy(self, services: Sequence[str], seconds: float = 900) -> None:
        """Wait until every service is healthy, or fail with the log of one that is not."""
        ends = time.monotonic() + seconds
        label = f"label=com.docker.compose.project={self.name}"
        service = '{{.Label "com.docker.compose.service"}}'
        told = ("ps", "--filter", label, "--filter", "health=healthy", "--format", service)
        # One question for all: two for each of a hundred services are a core's work.
        while waiting := sorted(set(services) - set(docker(*told).split())):
            if time.monotonic() > ends:
                raise AssertionError(f"{waiting[0]} is not healthy: {self.logs(waiting[0])[-3000:]}")
            time.sleep(2)
