"""What jobs cost: the worker's measurements, and the engine's estimates."""

from __future__ import annotations

import pytest

from support.fakes import answer
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Costs, Generate
from t5engine.pool.costs import FADE_SECONDS, MAX_CORRECTION, CostModel
from t5engine.worker.meter import CostMeter

COSTS = Costs(encodes=[(8, 1.0), (16, 3.0)], steps=[(1, 0.5), (4, 2.0)])
GREEDY = GenerationConfig(max_tokens=8)


def job(tokens: int, max_tokens: int = 8) -> Generate:
    return Generate(1, GenerationConfig(max_tokens=max_tokens), ids=[3] * tokens)


@pytest.mark.parametrize(
    ("tokens", "seconds"), [(1, 1.0), (8, 1.0), (12, 2.0), (16, 3.0), (32, 6.0)]
)
def test_estimates_lie_between_measurements(tokens: int, seconds: float) -> None:
    """Below the first measurement nothing is cheaper; beyond the last, costs are proportional."""
    model = CostModel()
    assert model.encode_seconds(job(tokens)) == 0.0  # nothing is known
    model.record_costs(COSTS)
    assert model.encode_seconds(job(tokens)) == pytest.approx(seconds)


def test_steps_are_learnt() -> None:
    """A job takes as many steps as others did, within its own limit, give or take deviations."""
    model = CostModel()
    model.record_costs(COSTS)
    assert model.seconds(job(8), rows=1) == pytest.approx(1.5)  # optimistic: one step
    model.record(job(8), answer(job(8), "x"))  # three steps
    assert model.seconds(job(8), rows=1) == pytest.approx(2.5)
    assert model.seconds(job(8, max_tokens=2), rows=1) == pytest.approx(2.0)
    assert model.seconds(job(8), rows=4) == pytest.approx(7.0)


def test_forecasts_are_corrected() -> None:
    """Jobs that take longer than forecast raise all forecasts, up to a limit; lag is learnt."""
    model = CostModel()
    for _ in range(500):
        model.record_forecast(1.0, 2.5, 2.0)
    assert model.correction == pytest.approx(2.0, rel=0.01)
    assert model.lag == pytest.approx(0.5, rel=0.01)
    for _ in range(500):
        model.record_forecast(1.0, 2.0)
    assert model.correction == pytest.approx(MAX_CORRECTION, rel=0.01)


def test_load_does_not_raise_the_fastest_costs() -> None:
    """The lowest measurement of each shape counts, and a smaller shape never costs more."""
    model = CostModel()
    model.record_costs(COSTS)
    model.record_costs(Costs(encodes=[(4, 9.0), (8, 0.5), (16, 30.0)], steps=[(2, 8.0), (4, 6.0)]))
    assert model.fastest_costs.encodes == [(4, 0.5), (8, 0.5), (16, 3.0)]
    assert model.fastest_costs.steps == [(1, 0.5), (2, 2.0), (4, 2.0)]
    assert model.fastest_seconds(job(8), rows=1) == pytest.approx(1.0)
    assert model.seconds(job(8), rows=4) == pytest.approx(6.5)


def test_what_load_taught_fades() -> None:
    """An idle engine forgets delays, but not that jobs are shorter than forecast."""
    model = CostModel()
    for _ in range(500):
        model.record_forecast(1.0, 3.5, 3.0)
    model.forget_load(FADE_SECONDS)
    assert model.correction == pytest.approx(2.0, rel=0.01)
    assert model.lag == pytest.approx(0.25, rel=0.01)
    for _ in range(500):
        model.record_forecast(1.0, 0.6, 0.6)
    model.forget_load(3600)
    assert model.correction == pytest.approx(0.6, rel=0.01)
    assert model.lag == model.margin == pytest.approx(0.0)


def test_the_meter_averages_by_shape() -> None:
    """Rows are padded as the kernels do, and one slow call hardly counts."""
    meter = CostMeter()
    for _ in range(100):
        meter.record_step(1, 1.0)
        meter.record_step(3, 2.0)
        meter.record_encode(8, 4.0)
    meter.record_step(4, 1000.0)
    assert dict(meter.costs.steps) == pytest.approx({1: 1.0, 4: 2.4})
    assert dict(meter.costs.encodes) == pytest.approx({8: 4.0})
