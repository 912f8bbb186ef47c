"""What an operator writes down, and whom a role's daemon lets in: no process is started here."""

import pytest
import typer.testing

from fedgenome.cli.main import app
from fedgenome.deployment import roles
from fedgenome.deployment.compute.dealer import DealerConfig, DealerDaemon
from fedgenome.deployment.compute.party import PartyConfig, PartyDaemon
from fedgenome.deployment.coordinator.training import DeploymentConfig
from fedgenome.errors import SpecError
from fedgenome.federation.wire import Call
from fedgenome.secure.generators import DEALER, ROLES
from fedgenome.secure.identity import Identity
from tests.deployment_roles.deployed import JOINING, RUN, SIGNER, STUDY, a_log, facts, free_addresses, packed, toml

STRANGER = Identity.generate()
PEERS = ["party-0:9100", "party-1:9100", "party-2:9100"]


@pytest.fixture
def told(tmp_path):
    return facts(tmp_path, 1, PEERS) | {"listen": "0.0.0.0:9100"}


def written(tmp_path, told):
    path = tmp_path / "party.toml"
    path.write_text(toml(told))
    return path


def test_a_configuration_is_read_with_paths_from_its_own_folder(tmp_path, told):
    config = PartyConfig.load(written(tmp_path, told | {"state": "party-1", "socket": "1.sock"}))
    assert (config.state, config.socket) == (tmp_path / "party-1", tmp_path / "1.sock")
    assert config.meeting_places == ("party-0:9100", "0.0.0.0:9100", "party-2:9100")


def test_a_party_keeps_a_run_for_longer_than_a_hospital_may_take_for_an_answer(tmp_path, told):
    config = PartyConfig.load(written(tmp_path, told))
    assert config.idle_seconds > DeploymentConfig.model_fields["timeout_seconds"].default


WRONG = {
    "index": (3, r"index: Input should be less than 3, got 3"),
    "state": ("nowhere", r"state: expected the folder .*nowhere; there is none"),
    "socket": ("s" * 200, r"socket: expected a path of at most 107 bytes"),
    "peers": (["a:1", "a:1", "b:2"], r"peers: expected 3 different addresses host:port, or none"),
    "listen": ("9100", r"listen: String should match pattern"),
    "signers": ([], r"signers: Tuple should have at least 1 item"),
    "timeout_seconds": (0, r"timeout_seconds: Input should be greater than 0, got 0"),
    "public": (False, r"seed: expected none, or public = true"),
    "seeds": (1, r"seeds: unknown key; did you mean 'seed'\?"),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_one_clear_error(tmp_path, told, field):
    value, text = WRONG[field]
    with pytest.raises(SpecError, match=rf"^{tmp_path}/party.toml: {text}"):
        PartyConfig.load(written(tmp_path, told | {field: value}))


def test_a_party_without_peers_listens_nowhere(tmp_path, told):
    with pytest.raises(SpecError, match="listen: expected an address with peers, and none without"):
        PartyConfig.load(written(tmp_path, told | {"peers": []}))
    del told["listen"]
    assert PartyConfig.load(written(tmp_path, told | {"peers": []})).meeting_places == ()


def test_the_dealer_needs_the_addresses_of_the_parties(tmp_path):
    told = facts(tmp_path, DEALER, [])
    with pytest.raises(SpecError, match="peers: expected the addresses of the 3 parties"):
        DealerConfig.load(written(tmp_path, told))


@pytest.mark.parametrize("text", ["", "ab", "AB" * 32, "é"])
def test_a_socket_key_that_is_none_is_refused(told, text):
    config = PartyConfig.model_validate(told)
    (config.state / roles.SOCKET_KEY).write_text(text)
    with pytest.raises(SpecError, match=r"socket.key: expected 64 hex digits in lower case"):
        roles.socket_key(config)


def test_a_state_folder_has_one_daemon_at_a_time(told):
    config = PartyConfig.model_validate(told)
    with PartyDaemon(config, a_log()[0]), pytest.raises(SpecError, match="expected to be its only daemon"):
        PartyDaemon(config, a_log()[0])
    PartyDaemon(config, a_log()[0]).close()


def test_health_of_a_daemon_that_is_not_there_is_a_failed_role(tmp_path, told):
    ran = typer.testing.CliRunner().invoke(app, ["party", "health", str(written(tmp_path, told))])
    assert ran.exit_code == 4 and "cannot be reached" in ran.output


# ── whom a daemon lets in ────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=[1, DEALER])
def daemon(request, tmp_path):
    peers = free_addresses()
    told = facts(tmp_path, request.param, peers)
    if request.param == DEALER:
        made = DealerDaemon(DealerConfig.model_validate(told), a_log()[0])
    else:
        made = PartyDaemon(PartyConfig.model_validate(told), a_log()[0])
    with made:
        yield made


def refusal_of(daemon, kind, call):
    return daemon.handle(kind, call).refusal


def signed(study, by=SIGNER):
    made = {"signer": by.public, "signature": by.sign("study", [study.digest]).hex()}
    return Call(header=JOINING | {"study": study.model_dump(mode="json", by_alias=True), "signatures": [made]})


def test_a_role_says_who_it_is(daemon):
    answer = daemon.handle("hello", Call(header={}))
    assert answer.header == {"site": daemon._role, "identity": daemon._identity.public}
    assert daemon._role in ROLES


def test_a_study_that_no_trusted_signer_signed_is_refused(daemon):
    unsigned = Call(header=JOINING | {"signatures": []})
    wrong = Call(header=JOINING | {"signatures": [{"signer": SIGNER.public, "signature": "00" * 64}]})
    for call in (unsigned, wrong, signed(STUDY, by=STRANGER)):
        assert refusal_of(daemon, "join", call)[0] == "not-signed"


def test_a_signature_over_another_study_is_refused(daemon):
    other = STUDY.model_copy(update={"quorum": 3}).model_dump(mode="json", by_alias=True)
    code, rule = refusal_of(daemon, "join", Call(header=JOINING | {"study": other}))
    assert code == "not-signed" and "does not fit this Study" in rule


def test_a_study_that_names_another_in_this_place_is_refused(daemon):
    sites = {site.name: site.key for site in STUDY.roster}
    parties = (STUDY.parties[0], STRANGER.public, STUDY.parties[2])
    other = STUDY.with_keys(sites, parties, Identity.generate().public)
    assert refusal_of(daemon, "join", signed(other)) == (
        "other-roster",
        f"the Study names another identity for {daemon._role}",
    )


def test_a_study_without_keys_is_refused(daemon):
    assert refusal_of(daemon, "join", signed(STUDY.without_keys()))[0] == "other-roster"


MALFORMED = [
    {"run": ""},
    {"run": 1},
    {"run": "r" * 201},
    {"study": {}},
    {"plan": None},
    {"signatures": {}},
    {"more": 1},
]


@pytest.mark.parametrize("change", MALFORMED, ids=str)
def test_a_join_that_is_malformed_is_refused(daemon, change):
    assert refusal_of(daemon, "join", Call(header=JOINING | change))[0] == "malformed"


def test_nothing_is_answered_before_a_join(daemon):
    assert refusal_of(daemon, "frames", packed())[0] == "not-joined"
    assert refusal_of(daemon, "close", Call(header={"run": RUN}))[0] == "other-run"
    assert refusal_of(daemon, "ask", Call(header={}))[0] == "unknown-kind"
