"""How many threads compute a graph: chosen by how long that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from t5engine.graph.threads import LONGEST_PAUSE, ThreadChooser

STEP = "step of one row"


class Machine:
    """Computes steps, whose durations are by the number of threads."""

    def __init__(self, threads: int, duration: Callable[[int], float]) -> None:
        self.now = 0.0
        self.duration = duration
        self.chooser = ThreadChooser(threads, lambda: self.now)

    def work(self, seconds: float) -> Counter[int]:
        """Works for some time; returns the steps by their threads."""
        steps: Counter[int] = Counter()
        end = self.now + seconds
        while self.now < end:
            threads = self.chooser.choose(STEP)
            self.now += self.duration(threads)
            self.chooser.record(STEP, self.duration(threads))
            steps[threads] += 1
        return steps


@pytest.mark.parametrize(("all_of_them", "one", "best"), [(1.0, 1.8, 2), (1.0, 0.7, 1)])
def test_the_faster_number_is_found(all_of_them: float, one: float, best: int) -> None:
    """After a while nearly all steps have the number of threads that is faster."""
    machine = Machine(2, lambda threads: (one if threads == 1 else all_of_them) / 1000)
    machine.work(5)
    steps = machine.work(10)
    assert steps[best] > 0.99 * steps.total()
    assert 1 <= steps.total() - steps[best] < 20  # it goes on being tried


def test_a_neighbour_comes_and_goes() -> None:
    """One thread while a neighbour makes all of them slow, and all of them soon afterwards."""
    quiet = {4: 0.001, 1: 0.003}
    machine = Machine(4, quiet.__getitem__)
    assert machine.work(20)[4] > 5000
    machine.duration = {4: 0.020, 1: 0.004}.__getitem__
    machine.work(0.3)
    busy = machine.work(20)
    assert busy[1] > 0.99 * busy.total()
    machine.duration = quiet.__getitem__
    machine.work(2 * LONGEST_PAUSE)
    after = machine.work(20)
    assert after[4] > 0.99 * after.total()


def test_few_requests_are_delayed_at_a_low_rate() -> None:
    """With a graph a second, fewer than one in 30 is computed with the slower number."""
    machine = Machine(2, lambda threads: (1.8 if threads == 1 else 1.0) / 1000)
    threads: Counter[int] = Counter()
    for _ in range(500):
        machine.now += 1
        threads += machine.work(0.0005)
    assert threads.total() == 500
    assert 5 <= threads[1] < 500 / 30


def test_a_trial_is_known() -> None:
    """Whoever computes many graphs at once computes one while another number is tried."""
    machine = Machine(2, lambda threads: (1.8 if threads == 1 else 1.0) / 1000)
    tried = 0
    for _ in range(5000):
        threads = machine.chooser.choose(STEP)
        assert machine.chooser.is_trying(STEP) == (threads == 1)
        tried += threads == 1
        machine.now += machine.duration(threads)
        machine.chooser.record(STEP, machine.duration(threads))
    assert 1 <= tried < 50
    alone = ThreadChooser(1)
    assert alone.choose(STEP) == 1
    assert not alone.is_trying(STEP)


def test_a_trial_that_is_slow_is_over_at_once() -> None:
    """What is much slower costs one step of a trial, and hardly ever."""
    machine = Machine(2, {2: 0.001, 1: 0.1}.__getitem__)
    machine.work(30)
    steps = machine.work(60)
    assert steps[1] <= 60 / LONGEST_PAUSE + 1


def test_one_thread_is_one_thread() -> None:
    """A worker of one thread has nothing to choose."""
    machine = Machine(1, lambda _: 0.001)
    assert machine.work(1).keys() == {1}


@pytest.mark.parametrize("counts", [[1] * 7, [7], [3, 4]], ids=str)
def test_several_computations_count_as_often(counts: list[int]) -> None:
    """The rest before a trial is counted in computations, also if several are recorded at once."""
    now = 0.0
    chooser = ThreadChooser(2, lambda: now)
    chooser.choose(STEP)
    chooser.record(STEP, 0.001)
    trials = 0
    while trials < 3:  # each is slow, and doubles the rest: 8 computations follow
        now += 100
        chooser.choose(STEP)
        trials += chooser.is_trying(STEP)
        chooser.record(STEP, 0.002 if chooser.is_trying(STEP) else 0.001)
    now += 100
    for count in counts:
        chooser.choose(STEP)
        assert not chooser.is_trying(STEP)
        chooser.record(STEP, 0.001, count)
    chooser.choose(STEP)
    assert not chooser.is_trying(STEP)
    chooser.record(STEP, 0.001)
    chooser.choose(STEP)
    assert chooser.is_trying(STEP)
