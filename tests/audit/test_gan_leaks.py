import numpy as np

from fedgenome.audit.gan_leaks import reconstruction
from fedgenome.audit.targets import Records, Target


def _line(*x, label=0):
    return Records(x=np.array(x, float)[:, None], label=np.full(len(x), label))


def test_score_is_minus_the_distance_to_the_nearest_sample():
    target = Target(table=_line(9.0), samples=_line(0.0, 1.0))
    assert reconstruction(_line(0.25, 3.0), target, _line(0.0)).tolist() == [-0.25, -2]


def test_reference_generator_takes_off_what_it_reconstructs_itself():
    target = Target(table=_line(9.0), samples=_line(0.0), reference=_line(0.5))
    assert reconstruction(_line(0.25, 1.0), target, _line(0.0)).tolist() == [0, -0.5]
