"""Which donor goes to which site: rules that read nothing but a donor's class, drawn from one generator."""

from __future__ import annotations

import numpy as np

from fedgenome.cohort.shard import Array


def majority(donor: Array, label: Array) -> Array:
    """Return each donor's most frequent label, the lowest of equals.

    Args:
        donor: int64 (rows,), index of each row's donor, 0 to n − 1.
        label: int64 (rows,).
    """
    pairs, counts = np.unique(np.stack([donor, label]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    _, first = np.unique(pairs[0][order], return_index=True)
    return np.asarray(pairs[1][order][first])


def dirichlet(classes: Array, sites: int, alpha: float, rng: np.random.Generator) -> Array:
    """Return a site for each donor: each class has its own Dirichlet(alpha) shares; no site stays empty."""
    home = np.empty(len(classes), np.int64)
    for label in np.unique(classes):
        who = np.flatnonzero(classes == label)
        home[who] = rng.choice(sites, size=len(who), p=rng.dirichlet(np.full(sites, alpha)))
    sizes = np.bincount(home, minlength=sites)
    for site in np.flatnonzero(sizes == 0):
        largest = sizes.argmax()
        home[rng.choice(np.flatnonzero(home == largest))] = site
        sizes[largest] -= 1
        sizes[site] = 1
    return home


def by_power(n: int, sites: int, exponent: float, least: int, rng: np.random.Generator) -> Array:
    """Return a site for each of n donors, whoever they are: site i has ``least`` and a share of the rest ∝ i^−exponent.

    Args:
        n: Donors, at least ``sites`` · ``least``.
        sites: Number of sites.
        exponent: 0: sizes that differ by one at most.
        least: Donors of every site.
        rng: Draws who goes where.
    """
    return np.asarray(rng.permutation(np.repeat(np.arange(sites), power_sizes(n, sites, exponent, least))))


def power_sizes(n: int, sites: int, exponent: float, least: int) -> Array:
    """Return the sizes of sites, falling, of sum n: ``least`` each, the rest by largest remainders.

    >>> power_sizes(40, 4, 1.0, 5).tolist()
    [15, 10, 8, 7]
    >>> power_sizes(10, 4, 0.0, 1).tolist()
    [3, 3, 2, 2]
    """
    shares = (1.0 + np.arange(sites)) ** -exponent
    exact = (n - sites * least) * shares / shares.sum()
    sizes = np.floor(exact).astype(np.int64)
    order = np.argsort(sizes - exact, kind="stable")  # the greatest remainders first, the first of equals
    sizes[order[: n - sites * least - sizes.sum()]] += 1
    return np.asarray(sizes + least)


def by_class(classes: Array, labels: int, sites: int, rng: np.random.Generator) -> Array:
    """Return a site for each donor, each site with as few classes as there can be; a site may stay empty.

    With fewer sites than classes, class c is at site c modulo sites; else site s has class s modulo classes alone,
    and the donors of a class are dealt evenly to its sites.
    """
    home = np.empty(len(classes), np.int64)
    for label in range(labels):
        who = rng.permutation(np.flatnonzero(classes == label))
        where = np.array([label % sites]) if sites < labels else np.arange(label, sites, labels)
        home[who] = where[np.arange(len(who)) % len(where)]
    return home
