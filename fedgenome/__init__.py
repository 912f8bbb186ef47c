"""Federated, private synthetic genomic data: bounded queries, summed securely, audited before release.

The public names below are imported when first used (PEP 562): a compute party or a relay that needs
one small module starts without torch, Flower or AnnData.

>>> import fedgenome
>>> fedgenome.__version__
'0.1.0'
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_EXPORTS: dict[str, str] = {}  # public name → the module that defines it

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> object:
    try:
        module = _EXPORTS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
