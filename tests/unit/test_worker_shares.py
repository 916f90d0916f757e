"""How a worker shares its time between wide requests, narrow ones and long encodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generate
from t5engine.rows import assign_rows, padded_rows
from t5engine.worker.fairness import Fairness
from t5engine.worker.job import Generation


@dataclass
class FakeGeneration:
    """A generation as far as the sharing looks at it."""

    turn: int
    width: int
    rows: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = list(range(self.width))

    @property
    def request(self) -> Generate:
        return Generate(1, GenerationConfig(max_tokens=8), text="a", turn=self.turn)


def generations(*widths: int) -> list[Generation]:
    """Returns generations of a request each."""
    fakes = [FakeGeneration(turn, width) for turn, width in enumerate(widths)]
    return cast("list[Generation]", fakes)


def run(fairness: Fairness, running: list[Generation], costs: dict[int, float]) -> int:
    """Runs a step at these costs by rows; returns how many rows it had."""
    chosen, others = fairness.choose(running)
    rows = sum(len(generation.rows) for generation in chosen)
    fairness.record_step(rows, costs[rows], is_shared=bool(others))
    return rows


def test_a_narrow_request_has_half_of_the_time() -> None:
    """Beside a wide request a narrow one has the first step, and then as much time."""
    fairness = Fairness()
    wide, narrow = generations(16, 1)
    costs = {16: 6.0, 1: 1.0}
    assert run(fairness, [wide], costs) == 16
    rows = [run(fairness, [wide, narrow], costs) for _ in range(70)]
    assert rows[0] == 1
    seconds = {size: cost * rows.count(size) for size, cost in costs.items()}
    assert abs(seconds[16] - seconds[1]) <= 6.0


def test_narrow_requests_are_a_batch() -> None:
    """However many narrow requests there are, they are stepped together."""
    running = generations(*[1] * 16)
    chosen, others = Fairness().choose(running)
    assert (list(chosen), list(others)) == (running, [])


def test_a_request_of_many_narrow_jobs_is_wide() -> None:
    """Sixteen jobs of one request do not take turns as sixteen requests would."""
    greedy = [FakeGeneration(1, 1) for _ in range(16)]
    lone = FakeGeneration(2, 1)
    fairness = Fairness()
    chosen, others = fairness.choose(cast("list[Generation]", [*greedy, lone]))
    assert sorted((len(chosen), len(others))) == [1, 16]


def test_a_long_encode_waits_for_as_long_as_the_last_one_took() -> None:
    """Only while others are there, or were a moment ago; a short encode never waits."""
    now = 0.0
    fairness = Fairness(lambda: now)
    fairness.record_turns([1, 2])
    assert fairness.seconds_to_encode(1, 0.08) == 0.0
    fairness.record_encode(1, 0.08)
    assert fairness.seconds_to_encode(1, 0.08) == 0.08
    assert fairness.seconds_to_encode(2, 0.001) == 0.0
    now = 0.05
    assert 0.0 < fairness.seconds_to_encode(1, 0.08) < 0.04
    now = 10.0
    fairness.record_turns([1])
    fairness.record_encode(1, 0.08)
    assert fairness.seconds_to_encode(1, 0.08) == 0.0


def test_another_request_may_use_the_time_after_a_long_encode() -> None:
    """With an encode that fits in; the request of the long encode waits."""
    fairness = Fairness(lambda: 0.0)
    fairness.record_turns([1, 2])
    fairness.record_encode(1, 0.08)
    assert fairness.seconds_to_encode(2, 0.03) == 0.0
    assert fairness.seconds_to_encode(2, 0.2) == 0.08
    assert fairness.seconds_to_encode(1, 0.03) == 0.08
    fairness.record_encode(2, 0.03)  # is shorter than what others have yet
    assert fairness.seconds_to_encode(2, 0.03) == 0.08


def test_long_encodes_take_turns_where_nothing_is_decoded() -> None:
    """Requests that only encode do not wait for decoding that nobody asks for."""
    fairness = Fairness(lambda: 0.0)
    fairness.record_turns([1, 2])
    fairness.record_encode(1, 0.08)
    assert fairness.seconds_to_encode(2, 0.2, are_others_stepping=False) == 0.0
    assert fairness.seconds_to_encode(1, 0.2, are_others_stepping=False) == 0.08


QUERY = cast("list[Generation]", [FakeGeneration(2, 1)])


def test_a_rerank_has_a_quarter_of_the_time_while_others_decode() -> None:
    """At most one document between two steps, and three times its time of steps after it."""
    now = 0.0
    fairness = Fairness(lambda: now)
    events: list[str] = []
    while len(events) < 300:
        fairness.choose(QUERY)
        if not fairness.seconds_to_encode(1, 0.05, is_bulk=True):
            now += 0.05
            fairness.record_encode(1, 0.05)
            events.append("document")
        now += 0.01
        events.append("step")
    assert "document document" not in " ".join(events)
    seconds = 0.05 * events.count("document")
    assert 0.22 * now < seconds <= now / 4 + 0.05


def test_a_rerank_alone_does_not_wait() -> None:
    """Its documents follow each other, and those of another rerank; the loop takes turns."""
    fairness = Fairness(lambda: 0.0)
    fairness.record_turns([1])
    fairness.record_encode(1, 0.05)
    assert fairness.seconds_to_encode(1, 0.05, is_bulk=True) == 0.0
    fairness.record_turns([1, 3])
    for turn in (1, 3):
        wait = fairness.seconds_to_encode(turn, 0.05, are_others_stepping=False, is_bulk=True)
        assert wait == 0.0
    fairness.choose(QUERY)
    assert fairness.seconds_to_encode(3, 0.05, is_bulk=True) == pytest.approx(0.15)


@given(st.lists(st.integers(0, 23), max_size=16), st.integers(0, 16))
def test_the_first_sequences_have_the_lowest_rows(parents: list[int], first: int) -> None:
    """Rows are distinct and compact, and those of the first sequences are compact by themselves."""
    first = min(first, len(parents))
    rows = assign_rows(parents, first)
    assert len(set(rows)) == len(rows) == len(parents)
    assert all(row < padded_rows(first) for row in rows[:first])
    assert all(row < padded_rows(len(parents)) for row in rows)


def test_a_document_waits_a_moment_for_the_next_query() -> None:
    """For a client that asks again as soon as it has its answer; not for one that has left."""
    now = 0.0
    fairness = Fairness(lambda: now)
    fairness.choose(QUERY)
    fairness.record_encode(1, 0.05)
    now = 0.04
    fairness.record_decoding(QUERY)

    def wait() -> float:
        return fairness.seconds_to_encode(1, 0.05, are_others_stepping=False, is_bulk=True)

    assert wait() == pytest.approx(0.01)
    now = 0.051
    assert wait() == 0
    now = 0.16
    fairness.choose(QUERY)
    assert wait() == 0  # its three quarters of the time are over
