"""One small model of each architecture."""

import pytest

from fedgenome.models.language.sizes import CAPACITIES
from tests.models.language.small import drawn


@pytest.fixture(params=list(CAPACITIES))
def architecture(request):
    """Every architecture's name."""
    return request.param


@pytest.fixture(params=[name for name in CAPACITIES if name != "masked"])
def causal(request):
    """A model of every causal architecture."""
    return drawn(request.param)
