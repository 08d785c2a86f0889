"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# An example takes as long as the machine is busy: that says nothing about what it tests.
settings.register_profile("solvent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("solvent")
