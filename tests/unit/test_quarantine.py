"""The quarantine of inputs that end workers."""

from __future__ import annotations

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generate
from t5engine.pool.quarantine import EXPIRY_SECONDS, Quarantine

INPUT = Generate(1, GenerationConfig(max_tokens=8), text="poison")
SAME_INPUT = Generate(2, GenerationConfig(max_tokens=4), text="poison")


def test_a_quarantine_ends() -> None:
    """An input is tried once more after a while; one more exit refuses it again."""
    now = 0.0
    quarantine = Quarantine(lambda: now)
    assert not quarantine.record_exit(INPUT)
    assert not quarantine.is_refused(INPUT)
    assert quarantine.record_exit(INPUT)
    now = EXPIRY_SECONDS - 1
    assert quarantine.is_refused(SAME_INPUT)
    now = EXPIRY_SECONDS + 1
    assert not quarantine.is_refused(SAME_INPUT)
    assert quarantine.record_exit(SAME_INPUT)
    assert quarantine.is_refused(INPUT)


def test_an_innocent_input_is_cleared() -> None:
    """After the trial has gone well, two exits are needed again."""
    now = 0.0
    quarantine = Quarantine(lambda: now)
    quarantine.record_exit(INPUT)
    quarantine.record_exit(INPUT)
    now = EXPIRY_SECONDS + 1
    quarantine.clear(SAME_INPUT)
    assert not quarantine.record_exit(INPUT)
