"""The signed Study: whoever signed it, nothing in it can change unnoticed."""

import json

import pytest

from fedgenome.deployment.signed import SignedStudy, verify_signatures
from fedgenome.errors import SpecError
from fedgenome.secure.identity import Identity
from fedgenome.study import Study

STUDY = Study.model_validate(
    {
        "name": "small",
        "schema": {"genes": ["A", "B"], "labels": ["x", "y"], "high": 7.0},
        "methods": [{"kind": "marginals"}],
        "privacy": {"trust": "distributed", "epsilon": 1.0, "delta": 1e-3},
        "donors_bound": 50,
        "quorum": 1,
        "roster": [{"name": "berlin", "cap": 20}],
    }
)
SIGNER, STRANGER = Identity.generate(), Identity.generate()


@pytest.fixture
def file(tmp_path):
    SignedStudy(study=STUDY).sign(SIGNER).sign(STRANGER).save(tmp_path / "study.json")
    return tmp_path / "study.json"


def test_saved_and_loaded_is_the_same_study_with_the_same_signatures(file):
    read = SignedStudy.load(file)
    assert read == SignedStudy(study=STUDY).sign(SIGNER).sign(STRANGER).sign(SIGNER)
    assert read.study.digest == STUDY.digest and read.verify([SIGNER.public]) == SIGNER.public


def test_a_signature_of_a_stranger_counts_nothing(file):
    with pytest.raises(SpecError, match=r"expected the signature of a trusted signer \(.{16}….* found none"):
        SignedStudy(study=STUDY).sign(STRANGER).verify([SIGNER.public])
    with pytest.raises(SpecError, match=r"trusted signer \(none\), found none"):
        SignedStudy.load(file).verify([])


def test_a_changed_study_keeps_no_signature(file):
    told = json.loads(file.read_text())
    told["study"]["privacy"]["epsilon"] = 9.0
    file.write_text(json.dumps(told))
    with pytest.raises(SpecError, match=r"does not fit this Study"):
        SignedStudy.load(file).verify([SIGNER.public])


def test_a_role_verifies_what_a_message_holds_by_the_digest_it_computed_itself():
    wire = SignedStudy(study=STUDY).sign(SIGNER).wire
    assert verify_signatures(STUDY.digest, wire, {SIGNER.public}) == SIGNER.public
    with pytest.raises(SpecError, match="does not fit"):
        verify_signatures("0" * 64, wire, {SIGNER.public})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.pop("signatures"), "expected an object of study and signatures"),
        (lambda told: told["study"].update(epsilom=1), r"study: epsilom: unknown key"),
        (lambda told: told["signatures"].append({"signer": "x"}), "expected a list of signer and signature"),
        (lambda told: told["signatures"][0].update(signer="AB" * 32), "public key of 64 hex digits"),
        (lambda told: told["signatures"][0].update(signature="ab"), "signature of 128 hex digits"),
        (lambda told: told["signatures"].append(told["signatures"][0]), "every signer once"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line_with_its_name(file, change, message):
    told = json.loads(file.read_text())
    change(told)
    file.write_text(json.dumps(told))
    with pytest.raises(SpecError, match=rf"study\.json: .*{message}") as caught:
        SignedStudy.load(file)
    assert "\n" not in str(caught.value)


def test_what_is_no_json_or_not_there_is_said(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(SpecError, match="expected JSON"):
        SignedStudy.load(tmp_path / "x")
    with pytest.raises(SpecError, match="No such file"):
        SignedStudy.load(tmp_path / "y")
