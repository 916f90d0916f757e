"""Short forms of the commands in tests/chaos, and of reloads under load.

That of the neighbours is test_fairness.py.
"""

from __future__ import annotations

import signal

import pytest

from chaos import deaths, isolation, nasty, overload
from load import reloads


@pytest.mark.slow
def test_workers_that_die_lose_nothing() -> None:
    """Under deaths and hangs each request has an answer, and each answer is the right one."""
    outcome = deaths.run(
        seconds=8, clients=4, pause=2.5, signals=(signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV)
    )
    assert not outcome.lost
    assert not outcome.wrong
    assert outcome.right
    assert outcome.deaths


@pytest.mark.slow
def test_overload_is_answered() -> None:
    """Far too many clients with short deadlines are all answered, in time or with a refusal."""
    peak, overloaded = overload.measure(2.0, [(4, 10_000), (40, 100)], threads="1")
    assert peak.good
    assert overloaded.good or overloaded.refused


@pytest.mark.slow
@pytest.mark.parametrize("name", nasty.ATTACKS)
def test_nasty_clients(name: str) -> None:
    """The probes are answered meanwhile, memory hardly grows, and the log stays short."""
    damage = nasty.attack(name, 2.0)
    assert damage.probes
    assert damage.growth_mb < 20
    assert damage.lines < 100


@pytest.mark.slow
def test_reloads_lose_nothing() -> None:
    """While models take turns behind a path, each answer is wholly that of the model it names."""
    outcome = reloads.run(reloads=3, clients=4)
    assert not outcome.lost
    assert not outcome.wrong
    assert set(outcome.right) == {"first", "second"}
    assert outcome.switches >= 2


@pytest.mark.slow
def test_deaths_of_one_model_leave_another_alone() -> None:
    """While one model's worker dies, each request to the other one gets its usual answer."""
    outcome = isolation.run(rounds=2, seconds=4, clients=2, pause=1.0)
    assert outcome.deaths
    assert not outcome.failed
    assert outcome.disturbed_ms
