from __future__ import annotations

import pytest
from helpers import profiles  # noqa: F401  its import is its effect

from lab import wire


@pytest.fixture
def config() -> wire.Controller:
    """The tutorial's controller."""
    return wire.default_controller()
