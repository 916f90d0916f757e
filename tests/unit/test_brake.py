"""How refusals are slowed down."""

from __future__ import annotations

from t5engine.pool.brake import FREE_REFUSALS, MAX_DELAY_SECONDS, MIN_DELAY_SECONDS, Brake


def test_a_few_refusals_are_not_delayed() -> None:
    """A client that is refused now and then is told at once."""
    brake = Brake(lambda: 0.0)
    assert not brake.is_recent
    assert [brake.delay() for _ in range(FREE_REFUSALS)] == [0.0] * FREE_REFUSALS
    assert brake.is_recent


def test_a_storm_is_slowed_down() -> None:
    """The more clients come back at once, the longer they wait, up to a limit."""
    brake = Brake(lambda: 0.0)
    delays = [brake.delay() for _ in range(FREE_REFUSALS + 1000)][FREE_REFUSALS:]
    assert delays[0] == MIN_DELAY_SECONDS
    assert delays == sorted(delays)
    assert delays[-1] == MAX_DELAY_SECONDS


def test_a_storm_passes() -> None:
    """After a while without refusals the next one is told at once."""
    now = 0.0
    brake = Brake(lambda: now)
    for _ in range(1000):
        brake.delay()
    now = 10.0
    assert not brake.is_recent
    assert brake.delay() == 0.0
