"""A run on a real SuperLink with real parties gives what engine local gives."""

import contextlib

import pytest
import structlog

from fedgenome.deployment.compute.party import PartyConfig, PartyDaemon
from fedgenome.deployment.roles import SOCKET_KEY
from fedgenome.query import PARTIES
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from tests.deployment_roles import loopback
from tests.deployment_roles.small_run import TEXT, agreed, hospitals, run, submitted

SECURE = TEXT.replace('trust = "local"', 'trust = "distributed"').replace('secure = "off"', 'secure = "on"')


@contextlib.contextmanager
def three(folder, address, signer):
    """Serve the three parties and their relays."""
    with contextlib.ExitStack() as stack:
        for index in range(PARTIES):
            state, socket = folder / f"party-{index}", folder / f"daemon-{index}.sock"
            (state / SOCKET_KEY).write_text("00" * 32)
            (state / SOCKET_KEY).chmod(0o600)
            more = {"public": True, "seed": 7, "signers": (signer.public,)}
            config = PartyConfig(index=index, state=state, socket=socket, **more)
            party = stack.enter_context(PartyDaemon(config, structlog.get_logger()))
            stack.enter_context(loopback.node(folder, address, f"party-{index}", party.handle))
        yield


@pytest.mark.deployment
@pytest.mark.timeout(600)
def test_a_seeded_run_whose_sums_three_parties_open_is_that_of_engine_local_byte_for_byte(tmp_path):
    signer = Identity.generate()

    def keyed(study):
        sites = {site.name: kept(tmp_path / "sites" / site.name) for site in study.roster}
        return study.with_keys(sites, [kept(tmp_path / f"party-{index}") for index in range(PARTIES)])

    prepared = agreed(tmp_path, SECURE, keyed, signer)
    with (
        loopback.superlink(tmp_path) as address,
        three(tmp_path, address, signer),
        hospitals(tmp_path, prepared, address),
    ):
        there = run(tmp_path, *submitted(tmp_path, address))
    assert there == run(tmp_path, "--out", "local")


def kept(folder):
    return Identity.kept(folder / IDENTITY).public
