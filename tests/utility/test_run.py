import json

import numpy as np
import pytest

from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError
from fedgenome.utility.run import utility


def _run(members, controls, table, **more):
    return utility(members=members, controls=controls, synthetic=table, low=0.0, rng=np.random.default_rng(0), **more)


def test_json_holds_what_a_report_shows(draw):
    rng = np.random.default_rng(0)
    seen = json.loads(json.dumps(_run(draw(60, rng), draw(40, rng), draw(80, rng)).to_json(), allow_nan=False))
    assert (seen["rows"], seen["members"], seen["controls"]) == (80, 60, 40)
    assert seen["statement"].endswith("stays internal")
    assert [score["trained_on"] for score in seen["scores"]] == ["synthetic"] * 2 + ["real"] * 2 + ["majority"]
    assert set(seen["fidelity"]) == {"synthetic", "real"}


def test_missing_values_count_as_the_public_lowest(draw):
    rng = np.random.default_rng(1)
    members, controls, table = draw(60, rng), draw(40, rng), draw(80, rng)
    holes, zeros = table.x.copy(), table.x.copy()
    holes[::5], zeros[::5] = np.nan, 0.0
    filled = Records(x=zeros, label=table.label)
    assert _run(members, controls, Records(x=holes, label=table.label)) == _run(members, controls, filled)


def test_worse_table_scores_worse_in_everything(draw):
    rng = np.random.default_rng(2)
    members, controls, good = draw(200, rng), draw(100, rng), draw(200, rng)
    bad = Records(x=rng.permuted(good.x, axis=0) + 1, label=good.label)
    fine, poor = _run(members, controls, good), _run(members, controls, bad)
    assert fine.scores[0].accuracy.low > poor.scores[0].accuracy.high
    assert fine.synthetic.wasserstein < 0.5 < poor.synthetic.wasserstein
    assert fine.synthetic.correlation < 0.1 < poor.synthetic.correlation
    assert fine.real == poor.real


def test_progress_is_told_every_step(draw):
    rng, told = np.random.default_rng(0), []
    _run(draw(20, rng), draw(20, rng), draw(20, rng), progress=told.append)
    assert told == ["classifiers", "fidelity"]


def test_tables_of_other_genes_and_empty_tables_are_refused(draw):
    rng = np.random.default_rng(0)
    members, controls, table = draw(10, rng), draw(10, rng), draw(9, rng)
    with pytest.raises(SpecError, match=r"same number of genes everywhere, got .*synthetic=3"):
        _run(members, controls, Records(x=table.x[:, :3], label=table.label))
    with pytest.raises(SpecError, match="at least one row in synthetic"):
        _run(members, controls, table.rows(np.zeros(9, bool)))
