"""The coordinator's memory: what was asked is known before it leaves, and states come back exactly."""

import numpy as np
import pytest

from fedgenome.errors import SpecError
from fedgenome.federation.checkpoint import Checkpoint, Progress

RUN = {"run": "r", "study": "s", "plan": "p"}


def test_state_and_step_come_back(tmp_path):
    state = {"w": np.arange(3, dtype=np.float32), "step": np.array(7, np.int64)}
    Checkpoint(tmp_path, RUN).save("cvae", Progress(state=state, step=7))
    again = Checkpoint(tmp_path, RUN).load("cvae")
    assert again.step == 7 and all(
        (again.state[k] == state[k]).all() and again.state[k].dtype == state[k].dtype for k in state
    )


def test_nothing_is_there_before_the_first_query(tmp_path):
    assert Checkpoint(tmp_path, RUN).load("cvae") is None


def test_an_interrupted_query_becomes_a_new_attempt_after_a_restart(tmp_path):
    assert Checkpoint(tmp_path, RUN).asking("m", 3, "form") == 0
    again = Checkpoint(tmp_path, RUN)
    assert (again.asked("form"), again.asking("m", 3, "form")) == (1, 1)
    assert (again.asked("form"), again.asking("m", 4, "form", steps=5)) == (2, 0)
    assert (again.asked("form"), again.asked("other"), again.asking("m", 4, "other")) == (7, 0, 1)


def test_the_state_of_another_run_is_refused(tmp_path):
    Checkpoint(tmp_path, RUN).asking("m", 0, "form")
    with pytest.raises(SpecError, match="another's"):
        Checkpoint(tmp_path, RUN | {"plan": "other"})
