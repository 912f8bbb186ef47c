"""A whole run in containers: what `make up` does, over two hospitals."""

import json

import pytest


@pytest.fixture(scope="module")
def conducted(federation):
    """The federation, after one run that ended with a release."""
    done = federation.conduct()
    assert done.returncode == 0, done.stdout + done.stderr
    return federation


def test_run_ends_with_a_release_whose_card_names_the_deployment(conducted, tmp_path):
    release = conducted.results(tmp_path) / "quickstart" / "release"
    assert {path.name for path in release.iterdir()} >= {
        "model.safetensors",
        "card.json",
        "synthetic.h5ad",
        "ledger.jsonl",
    }
    assert "simulated roles" not in json.dumps(json.loads((release / "card.json").read_text()))


def test_every_site_answered_and_every_party_opened(conducted):
    for number in (1, 2):
        told = conducted.run_in(f"agent-{number}", "fedgenome", "site", "status", "/state/site.toml", "--json")
        status = json.loads(told.stdout)
        assert [run[2] for run in status["runs"]] == ["closed"]
        assert "answered" in {one["outcome"] for one in status["last"] if one["event"] == "ask"}
    for index in range(3):
        lines = [json.loads(line) for line in conducted.logs(f"party-{index}").splitlines() if line.startswith("{")]
        assert [line for line in lines if line["event"] == "frames" and line["outcome"] == "answered"]
