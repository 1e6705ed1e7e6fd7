from __future__ import annotations

import os

import pytest
from helpers.model_switch import VERSIONS
from helpers.rig import MakeRig, Rig
from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(params=sorted(VERSIONS))
def make_rig(request: pytest.FixtureRequest) -> MakeRig:
    """Makes a rig of one's own wishes, whose switch takes commands, OpenFlow 1.0 or OpenFlow 1.3."""
    return lambda **wishes: Rig(speaks=request.param, **wishes)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """The tutorial's lab: h1 and h2 serve 10.0.1.1:80 in turn, and both are up."""
    return make_rig()
