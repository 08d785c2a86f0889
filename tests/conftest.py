"""What holds for all tests, and the choice of the event loop that they run on."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, settings

# Before a test imports it by itself: `solvent.testing` asks for the same, but may be imported later.
pytest.register_assert_rewrite("solvent.engine.journal.contract")

# An example takes as long as the machine is busy: that says nothing about what it tests.
settings.register_profile("solvent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("solvent")


class OnUvloop:
    """Runs each test that is a coroutine, and its fixtures, on a loop of uvloop.

    A folder that has chosen another loop keeps it, as tests/actors does with its virtual time. So does a test that
    makes a loop of its own.
    """

    def __init__(self, new_loop: Callable[[], AbstractEventLoop]) -> None:
        self._factories = {"uvloop": new_loop}

    @pytest.hookimpl(trylast=True)
    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], AbstractEventLoop]]:
        return self._factories

    def pytest_report_header(self) -> str:
        return "event loop: uvloop"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="run the tests on uvloop, as solvent serve does")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--uvloop"):
        return
    try:
        import uvloop
    except ImportError as error:
        raise pytest.UsageError("--uvloop: install solvent[speed]") from error
    # The signal of pytest-timeout does not come through to a test while uvloop waits.
    config.option.timeout_method = "thread"
    config.pluginmanager.register(OnUvloop(uvloop.new_event_loop), "on-uvloop")
