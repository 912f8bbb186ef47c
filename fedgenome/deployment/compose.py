"""docker-compose.yml of a whole federation on one machine, every role in a container of its own.

Only what belongs together shares a network: each relay one with the SuperLink, the parties and the dealer one,
the coordinator one with the SuperLink. Hospitals' agents and the consortium have none. A role and its relay
share a volume with a socket; what all may know lies in ``public``, which only the consortium writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fedgenome import __version__
from fedgenome.errors import require
from fedgenome.query import PARTIES

MOST_POOLED = 20  # every relay has a network of its own, and an engine's default pools hold 31 for all its projects
MOST_SITES = 58  # past that number they are networks of 16 addresses out of BLOCK, which holds 64
BLOCK = "${NETWORK:-10.213}"  # first half of the addresses of BLOCK.0.0/22; another project's must be another

SUPERLINK_PORT, PARTY_PORT, HUB_PORT = 9092, 9100, 8099

_HEAD = """\
# Written by `fedgenome compose --sites {sites}`: edit fedgenome/deployment/compose.py instead, or add a
# docker-compose.override.yml. A demonstration on one machine: `make up`. See docs/deployment.md.
"""
_DEMO = ["python3", "-m", "fedgenome.deployment.demo"]
_HEALTH = ["python3", "-m", "fedgenome.deployment.health"]
_ENVIRONMENT = {"FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
_IMAGES = {"agent": "sites", "relay": "sites", "party": "server", "coordinator": "server"}

Service = dict[str, Any]


def text(sites: int) -> str:
    """Return the file's text for hospitals ``site-1`` to ``site-<sites>``.

    Raises:
        SpecError: no site, or more than an engine has networks for.
    """
    require(1 <= sites <= MOST_SITES, f"1 to {MOST_SITES} sites", sites=sites)
    return _HEAD.format(sites=sites) + yaml.dump(
        document(sites), Dumper=_Plain, sort_keys=False, default_flow_style=None, width=116
    )


def document(sites: int) -> dict[str, Any]:
    """Return the same as a document; service names are those of ``docker-compose up``."""
    roles = roles_of(sites)
    services = {"superlink": _superlink(roles), "consortium": _consortium(sites, roles), "coordinator": _coordinator()}
    for number in range(1, sites + 1):
        services |= {f"agent-{number}": _agent(number), f"relay-{number}": _relay(f"site-{number}")}
    for index in range(PARTIES):
        services |= {f"party-{index}": _party(index), f"relay-party-{index}": _relay(f"party-{index}")}
    services |= {"dealer": _dealer(), "relay-dealer": _relay("dealer")}
    volumes = [f"{what}-{role}" for role in roles for what in ("state", "link", "outbox")]
    volumes += [f"shard-{role}" for role in roles if role.startswith("site-")]
    volumes += ["public", "state-consortium", "desk", "state-superlink", "jobs", "runs"]
    return {
        "services": services,
        "networks": _networks(sites, ("mpc", "coordinator", *map(network, roles))),
        "volumes": {name: {} for name in volumes},
        "secrets": {
            name: {"file": f"${{TLS:-./.deployment/tls}}/{file}"}
            for name, file in (("ca.crt", "ca.crt"), ("server.crt", "server.crt"), ("server.key", "server.key"))
        },
    }


def roles_of(sites: int) -> tuple[str, ...]:
    """Return the names of the roles that have a relay, as nodes are registered under them."""
    return (*(f"site-{i}" for i in range(1, sites + 1)), *(f"party-{i}" for i in range(PARTIES)), "dealer")


def network(role: str) -> str:
    """Return the name of the network that ``role``'s relay shares with the SuperLink."""
    return f"relay-{role}"


def _networks(sites: int, names: Sequence[str]) -> dict[str, Any]:
    """Return every network, without a way out; many ones with addresses that no pool of the engine's must hold."""
    if sites <= MOST_POOLED:
        return {name: {"internal": True} for name in names}
    subnets = {name: f"{BLOCK}.{number // 16}.{number % 16 * 16}/28" for number, name in enumerate(names)}
    return {name: {"internal": True, "ipam": {"config": [{"subnet": subnet}]}} for name, subnet in subnets.items()}


def _superlink(roles: Sequence[str]) -> Service:
    service = _service(
        "coordinator", [*_DEMO, "superlink"], memory="1500m", networks=["coordinator", *map(network, roles)]
    )
    service["healthcheck"] = _healthcheck("superlink", str(SUPERLINK_PORT), str(HUB_PORT), "/run/secrets/ca.crt")
    service["secrets"] = ["ca.crt", "server.crt", "server.key"]
    service["restart"] = "on-failure"
    service["volumes"] = ["state-superlink:/state", "jobs:/jobs", "public:/public:ro"]
    return service


def _consortium(sites: int, roles: Sequence[str]) -> Service:
    service = _service("coordinator", [*_DEMO, "consortium", str(sites)], memory="2g", networks=None)
    service["restart"] = "on-failure:3"  # what it did is done: it goes on where it was
    service["secrets"] = ["ca.crt"]
    service["volumes"] = [
        "${EXPERIMENT_FILE:-./experiments/quickstart.toml}:/experiment.toml:ro",
        "state-consortium:/state",
        "desk:/desk",
        "public:/public",
        *(f"outbox-{role}:/inbox/{role}:ro" for role in roles),
        *(f"shard-site-{number}:/shards/site-{number}" for number in range(1, sites + 1)),
    ]
    return service


def _coordinator() -> Service:
    service = _service("coordinator", [*_DEMO, "coordinator"], memory="4g", networks=["coordinator"])
    service["profiles"] = ["run"]
    service["volumes"] = [
        "${EXPERIMENT_FILE:-./experiments/quickstart.toml}:/experiment.toml:ro",
        "desk:/desk:ro",
        "public:/public:ro",
        "jobs:/jobs",
        "runs:/runs",
    ]
    return service


def _agent(number: int) -> Service:
    service = _service("agent", [*_DEMO, "agent", f"site-{number}"], memory="1500m", networks=None)
    service["healthcheck"] = _healthcheck("role", "/state/site.toml")
    service["restart"] = "on-failure"
    service["volumes"] = [*_own(f"site-{number}"), f"shard-site-{number}:/data:ro", "public:/public:ro"]
    return service


def _party(index: int) -> Service:
    service = _service("party", [*_DEMO, "party", str(index)], memory="2g", networks=["mpc"])
    service["healthcheck"] = _healthcheck("role", "/state/party.toml")
    service["restart"] = "on-failure"
    service["volumes"] = [*_own(f"party-{index}"), "public:/public:ro"]
    return service


def _dealer() -> Service:
    service = _service("party", [*_DEMO, "dealer"], memory="2g", networks=["mpc"])
    service["healthcheck"] = _healthcheck("role", "/state/dealer.toml")
    service["restart"] = "on-failure"
    service["volumes"] = [*_own("dealer"), "public:/public:ro"]
    return service


def _relay(role: str) -> Service:
    service = _service("relay", None, memory="600m", networks=[network(role)])
    service["environment"] |= {
        "SUPERLINK": f"superlink:{SUPERLINK_PORT}",
        "FEDGENOME_AGENTS": "/link/agents.sock",
        "FEDGENOME_AGENTS_KEY_FILE": "/link/socket.key",
    }
    service["restart"] = "on-failure"
    service["volumes"] = [f"link-{role}:/link:ro", "public:/public:ro"]
    return service


def _own(role: str) -> list[str]:
    return [f"state-{role}:/state", f"link-{role}:/link", f"outbox-{role}:/outbox"]


def _service(image: str, command: Sequence[str] | None, *, memory: str, networks: Sequence[str] | None) -> Service:
    """Return what all services share; ``networks`` None: not even a loopback to the others."""
    folder = _IMAGES[image]
    return {
        "image": f"fedgenome-{image}:{__version__}",
        "build": {
            "context": ".",
            "dockerfile": f"{folder}/Dockerfile",
            "target": image,
            "args": {"TORCH_INDEX": "${TORCH_INDEX:-}"},
        },
        **({} if command is None else {"entrypoint": list(command)}),
        "environment": dict(_ENVIRONMENT),
        **({"network_mode": "none"} if networks is None else {"networks": list(networks)}),
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp:size=256m,mode=1777"],  # noqa: S108 - the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": memory,
        "pids_limit": 512,
        "logging": {"driver": "json-file", "options": {"max-size": "5m", "max-file": "3"}},
    }


def _healthcheck(*what: str) -> Mapping[str, Any]:
    """Return a check by ``fedgenome.deployment.health``: often, since a start-up waits for it, as it costs little."""
    often = {"interval": "${HEALTH_INTERVAL:-30s}", "timeout": "30s", "retries": 3, "start_period": "300s"}
    return {"test": ["CMD", *_HEALTH, *what], **often}


class _Plain(yaml.SafeDumper):
    """Writes every service out in full: anchors named id001 tell a reader nothing."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
