"""Roles of the demonstration on one machine: each makes its keys, waits for the consortium, configures itself, serves.

Only for public data: here a hospital takes its rules from what the consortium proposes, and approves unread. At a
real one a person writes ``site.toml`` and reads the study (docs/deployment.md); the commands are the same.
Every container of docker-compose.yml but the relays starts ``python -m fedgenome.deployment.demo ROLE``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedgenome import files, toml
from fedgenome.deployment.compose import HUB_PORT, PARTY_PORT, SUPERLINK_PORT, roles_of
from fedgenome.deployment.coordinator.superlink import SuperLink, serve
from fedgenome.errors import FedgenomeError, RoleError, SpecError
from fedgenome.secure.roster import RosterFile

# Where docker-compose.yml mounts what.
PUBLIC, STATE, LINK, OUTBOX, INBOX = (Path(f"/{name}") for name in ("public", "state", "link", "outbox", "inbox"))
DATA, SHARDS, DESK, JOBS, RUNS, SECRETS = map(Path, ("/data", "/shards", "/desk", "/jobs", "/runs", "/run/secrets"))
EXPERIMENT, APP = Path("/experiment.toml"), Path("/opt/app")
PROPOSAL, ANCHORS, STUDY, ROSTER, NODES, TRUSTED, BUNDLE, SIGNATURES, AUTHORITY = (
    PUBLIC / name
    for name in (
        "proposal.json", "anchors.json", "study.json", "roster.toml", "nodes.json",
        "trusted.yaml", "app.fab", "bundle.json", "ca.crt",
    )
)  # fmt: skip
SOCKET = LINK / "agents.sock"

_LOG = logging.getLogger(__name__)
_WAIT_SECONDS = 900.0  # for what another role is to write
_GLANCE_SECONDS = 0.2
_TIMEOUT_SECONDS = 600.0  # for a role's answer; one that is gone is known much sooner
_SILENCE_SECONDS = 60.0  # of a party, to the others
_RUNS = int(os.environ.get("DEMO_RUNS", "10"))  # of the same study that a hospital's budget is for
_OURS = str(Path(sys.executable).with_name("fedgenome"))
_COPY = "demo.json"  # in a role's state: which study it is configured for


def agent(name: str) -> None:
    """Be the hospital ``name``."""
    proposal = json.loads(wait(PROPOSAL))
    _request("site", name, "--cap", str(proposal["cap"]))
    study = json.loads(wait(STUDY))["study"]
    config = site_config(name, study, json.loads(wait(ANCHORS)), proposal)
    if _changed("site.toml", config, study):
        _fedgenome("site", "approve", str(STATE / "site.toml"), str(STUDY), "--yes")
        _configured(study)
    _become("fedgenome", "site", "serve", str(STATE / "site.toml"))


def party(index: str) -> None:
    """Be the compute party ``index``."""
    proposal, name = json.loads(wait(PROPOSAL)), f"party-{index}"
    _request("party", name)
    config = party_config(int(index), json.loads(wait(ANCHORS)), proposal)
    files.replace(STATE / "party.toml", config.encode())
    _become("fedgenome", "party", "serve", str(STATE / "party.toml"))


def dealer() -> None:
    """Be the dealer."""
    _request("dealer", "dealer")
    files.replace(STATE / "dealer.toml", dealer_config(json.loads(wait(ANCHORS))).encode())
    _become("fedgenome", "dealer", "serve", str(STATE / "dealer.toml"))


def superlink() -> None:
    """Be the SuperLink, with the hub of the signed bundle; register the relays that the consortium approved."""
    wait(SIGNATURES)
    sys.exit(serve(_superlink(), NODES))


def coordinator(*options: str) -> None:
    """Conduct the experiment; ``options`` are those of ``fedgenome run``, as ``--resume``."""
    wait(STUDY)
    config = toml.text({
        "superlink": f"superlink:{SUPERLINK_PORT}",
        "certificates": str(AUTHORITY),
        "jobs": str(JOBS),
        "study": str(STUDY),
        "deal": str(DESK / "deal"),
        "app": "@fedgenome/fedgenome==0.1.0",
        "parties": "grid",
        "timeout_seconds": _TIMEOUT_SECONDS,
    })  # fmt: skip
    file = Path(tempfile.gettempdir()) / "deployment.toml"
    file.write_text(config)
    _become("fedgenome", "run", str(EXPERIMENT), "--on", str(file), "--out", str(RUNS), *options)


def consortium(sites: str) -> None:
    """Be the consortium: propose, approve everybody's keys, deal the public cohort out, make and sign the study."""
    blob = EXPERIMENT.read_bytes()
    digest, known = hashlib.sha256(blob).hexdigest(), STATE / "experiment.sha256"
    if known.exists() and known.read_text() != digest:
        raise SpecError("experiment: expected the one of this demonstration's first start; first: make down")
    if STUDY.exists():
        return
    files.replace(known, digest.encode())
    _propose(int(sites))
    names = roles_of(int(sites))
    requests = [INBOX / name / "request.json" for name in names]
    for path in requests:
        wait(path)
    _fedgenome("keys", "approve", *map(str, requests), "--roster", str(ROSTER), "--nodes", str(NODES))
    signer = json.loads(_fedgenome("keys", "show", str(STATE / "signer.pem"), "--json"))["public"]
    files.replace(ANCHORS, json.dumps(anchors(ROSTER, signer)).encode())
    deal = STATE / "deal"
    if not (deal / "deal").exists():
        shutil.rmtree(deal, ignore_errors=True)  # half a deal
        _fedgenome("deal", str(EXPERIMENT), str(deal))
    hand_out(deal, SHARDS, DESK, int(sites))
    made = STATE / "study.json"
    _fedgenome(
        "study", "make", str(EXPERIMENT), "--roster", str(ROSTER), "--nodes", str(NODES),
        "--deal", str(deal / "deal"), "--out", str(made), "--sign", str(STATE / "signer.pem"),
    )  # fmt: skip
    files.replace(STUDY, made.read_bytes())  # last: everybody waits for it


def _propose(sites: int) -> None:
    """Write what must be known before anybody makes a key, and the signed bundle."""
    from fedgenome import experiment

    spec = experiment.load(EXPERIMENT)
    if spec.cohort is None:
        raise SpecError("cohort: expected a public [cohort] to deal out, got a [schema] alone")
    if spec.split.by != "dirichlet" or spec.split.sites != sites:
        raise SpecError(
            f"split: expected by = 'dirichlet' and sites = {sites}, as docker-compose.yml has; "
            f"for another number: make up SITES={spec.split.sites}"
        )
    files.replace(AUTHORITY, (SECRETS / "ca.crt").read_bytes())
    donor = "donor" if spec.cohort.donor else None
    told = {"cap": spec.caps.site_cap, "seed": spec.seed, "donor": donor}
    files.replace(PROPOSAL, json.dumps(told).encode())  # first: everybody makes keys meanwhile
    for name in ("signer.pem", "release.pem"):
        if not (STATE / name).exists():
            _fedgenome("keys", "new", str(STATE / name))
    if not (STATE / "bundle.json").exists():
        shutil.rmtree(STATE / "app", ignore_errors=True)
        _fedgenome("app", "build", "--out", str(STATE / "app"))
        (fab,) = (STATE / "app").glob("*.fab")
        release = str(STATE / "release.pem")
        _fedgenome("app", "sign", str(fab), "--key", release, "--out", str(STATE / "bundle.json"))
        public = json.loads(_fedgenome("keys", "show", release, "--json"))["public"]
        _fedgenome("app", "trusted", public, "--out", str(TRUSTED))
        files.replace(BUNDLE, fab.read_bytes())
    files.replace(SIGNATURES, (STATE / "bundle.json").read_bytes())


def hand_out(deal: Path, shards: Path, desk: Path, sites: int) -> None:
    """Put every shard into its hospital's volume, and the dealing key on the coordinator's desk."""
    for name in roles_of(sites)[:sites]:
        files.replace(shards / name / "cohort.h5ad", (deal / f"{name}.h5ad").read_bytes())
    files.replace(desk / "deal", (deal / "deal").read_bytes())


def anchors(roster: Path, signer: str) -> dict[str, Any]:
    """Return whom everybody trusts: the signer of studies, and of the roster file the parties and the dealer."""
    told = RosterFile.load(roster)
    return {"signers": [signer], "parties": list(told.parties), "dealer": told.dealer}


def site_config(name: str, study: Mapping[str, Any], trusted: Mapping[str, Any], proposal: Mapping[str, Any]) -> str:
    """Return a ``site.toml`` whose policy allows exactly this study, some times over, of data declared public."""
    privacy = study["privacy"]
    simulated = proposal["seed"] is not None or privacy["trust"] == "none"
    policy = {
        **trusted,
        "quorum": study["quorum"],
        "colluders": max(1, privacy["colluders"]),
        "methods": sorted({method["kind"] for method in study["methods"]}),
        "trust": [privacy["trust"]],
        "delta": privacy["delta"] or 1e-2,
        "donors": proposal["cap"],
        "budget_epsilon": None if simulated else _RUNS * privacy["epsilon"],
    }
    general = {"name": name, "state": str(STATE), "socket": str(SOCKET), "public": True, "seed": proposal["seed"]}
    cohort = {"source": str(DATA / "cohort.h5ad"), "label": "label", "donor": proposal["donor"], "scale": "log"}
    return toml.text({**general, "cohort": cohort, "policy": policy})


def party_config(index: int, trusted: Mapping[str, Any], proposal: Mapping[str, Any]) -> str:
    """Return a ``party.toml``."""
    seeded = {"public": True, "seed": proposal["seed"]} if proposal["seed"] is not None else {}
    return toml.text({"index": index, "listen": f"0.0.0.0:{PARTY_PORT}", **_computing(trusted), **seeded})


def dealer_config(trusted: Mapping[str, Any]) -> str:
    """Return a ``dealer.toml``."""
    return toml.text(_computing(trusted))


def _computing(trusted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": str(STATE),
        "socket": str(SOCKET),
        "peers": [f"party-{i}:{PARTY_PORT}" for i in range(len(trusted["parties"]))],
        "signers": trusted["signers"],
        "timeout_seconds": _SILENCE_SECONDS,
    }


def wait(path: Path, seconds: float = _WAIT_SECONDS) -> bytes:
    """Return what is in ``path`` once it is there: written whole, as every file here.

    Raises:
        RoleError: it is not there after ``seconds``.
    """
    if not path.exists():
        _LOG.warning("waits for %s", path)
    ends = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > ends:
            raise RoleError(f"{path}: expected within {seconds:g} s; is the role that writes it up?")
        time.sleep(_GLANCE_SECONDS)
    return path.read_bytes()


def _request(role: str, name: str, *options: str) -> None:
    """Make the role's keys, hand its relay the two that are the relay's, and ask to be approved."""
    out = OUTBOX / "request.json"
    _fedgenome("keys", "request", str(STATE), "--role", role, "--name", name, *options, "--out", str(out))
    for key in ("node.key", "socket.key"):
        if not (LINK / key).exists():
            files.create(LINK / key, (STATE / key).read_bytes(), 0o600)


def _changed(name: str, config: str, study: Mapping[str, Any]) -> bool:
    """Write a configuration; tell whether the role was not configured for this study before."""
    files.replace(STATE / name, config.encode())
    known = STATE / _COPY
    return not known.exists() or json.loads(known.read_text()) != study


def _configured(study: Mapping[str, Any]) -> None:
    files.replace(STATE / _COPY, json.dumps(study).encode())


def _superlink() -> SuperLink:
    return SuperLink(
        port=SUPERLINK_PORT,
        hub=HUB_PORT,
        state=STATE,
        certificates=SECRETS,
        bundle=BUNDLE,
        signatures=SIGNATURES,
        jobs=JOBS,
    )


def _fedgenome(*arguments: str) -> str:
    """Run one of our own commands, as a person would type it, and return what it printed."""
    done = subprocess.run([_OURS, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RoleError(f"fedgenome {' '.join(arguments[:2])}: ended with {done.returncode}")
    _LOG.warning("fedgenome %s: done", " ".join(arguments[:2]))
    return done.stdout


def _become(*command: str) -> None:
    os.execvp(command[0], command)  # noqa: S606 - a list, no shell


_ROLES: Mapping[str, Callable[..., None]] = {
    "agent": agent,
    "consortium": consortium,
    "coordinator": coordinator,
    "dealer": dealer,
    "party": party,
    "superlink": superlink,
}


def main(arguments: Sequence[str]) -> int:
    """Be the role that ``arguments`` name; return the exit code where it ends."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        _ROLES[arguments[0]](*arguments[1:])
    except FedgenomeError as fault:
        _LOG.error("error: %s", " ".join(str(fault).split()))
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
