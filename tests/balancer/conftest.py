from __future__ import annotations

import pytest
from helpers import profiles  # noqa: F401  its import is its effect
from helpers.rig import MakeRig, Rig


@pytest.fixture
def mode() -> str:
    """The mode of rigs that wish for none. Modules whose tests hold for every mode have a fixture of this name."""
    return "reactive"


@pytest.fixture(params=["command", "1.0", "1.3"])  # 1.5 is for groups alone
def make_rig(request: pytest.FixtureRequest, mode: str) -> MakeRig:
    """Makes a rig of one's own wishes, whose switch takes commands, OpenFlow 1.0 or OpenFlow 1.3."""
    return lambda **wishes: Rig(**{"speaks": request.param, "mode": mode, **wishes})


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """The tutorial's lab: h1 and h2 serve 10.0.1.1:80 in turn, and both are up."""
    return make_rig()
