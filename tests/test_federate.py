"""Which roles a simulated run starts and names."""

from types import SimpleNamespace

import pytest

from fedgenome.errors import SpecError
from fedgenome.experiment import Experiment
from fedgenome.federate import Place, Simulated, _with_identities
from fedgenome.query import PARTIES, Mechanism
from fedgenome.secure.identity import Identity
from fedgenome.secure.parties import DEALER, Parties
from fedgenome.secure.party import IDENTITY
from fedgenome.study import Plan
from tests.federation.small import make_study

SUM = Mechanism(kind="gaussian", level=1.0)
PICK = Mechanism(kind="exponential", level=1.0, winners=3)


@pytest.mark.parametrize(("plan", "roles"), [((SUM,), PARTIES), ((SUM, PICK), PARTIES + 1)], ids=["sums", "selections"])
def test_dealer_is_started_and_named_only_if_the_plan_selects(tmp_path, plan, roles):
    place = Place(state=tmp_path, ledgers=tmp_path / "sites", parties=tmp_path / "kept", run="r", seed=None)
    prepared = SimpleNamespace(study=make_study(secure="off", trust="none"), plan=Plan(mechanisms=plan))
    with Parties.start(tmp_path, None) as running:
        named, again = (_with_identities(prepared, place, running) for _ in range(2))
        assert len([handle for handle in running._all if handle.process.poll() is None]) == roles
    assert named == again and named.keyed
    if roles > PARTIES:
        assert named.dealer == Identity.load(tmp_path / "kept" / DEALER / IDENTITY).public
    assert bool(named.dealer) == (roles > PARTIES)


def test_schema_without_a_cohort_is_refused_before_a_party_starts(monkeypatch):
    monkeypatch.setattr(Parties, "start", None)  # a call of it would be another error
    schema = {"genes": ["g"], "labels": ["a", "b"], "high": 10.0, "unit": "donor"}
    spec = Experiment.model_validate(
        {"name": "s", "schema": schema, "caps": {"site_cap": 5, "donors_bound": 10}, "privacy": {"trust": "none"},
         "methods": [{"kind": "marginals"}]}
    )  # fmt: skip
    with pytest.raises(SpecError, match=r"expected a \[cohort\], got a \[schema\] alone.*study make --nodes"):
        Simulated(spec)
