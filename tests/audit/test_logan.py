import numpy as np

from fedgenome.audit.logan import discriminator
from fedgenome.audit.targets import Target


def test_rows_it_learned_from_are_known_by_heart_and_others_lie_between(draw):
    rng = np.random.default_rng(0)
    table, base, others = draw(60, rng), draw(20, rng), draw(30, rng)
    target = Target(table=table, samples=table)
    assert (discriminator(table, target, base) == 1).all()
    assert (discriminator(base, target, base) == 0).all()
    between = discriminator(others, target, base)
    assert ((between > 0) & (between < 1)).mean() > 0.9


def test_same_rows_have_the_same_scores(draw):
    rng = np.random.default_rng(1)
    table, base, others = draw(60, rng), draw(20, rng), draw(30, rng)
    target = Target(table=table, samples=table)
    assert discriminator(others, target, base).tolist() == discriminator(others, target, base).tolist()
