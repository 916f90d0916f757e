"""The cores of several models."""

from __future__ import annotations

import os

import pytest

from t5engine import cpus
from t5engine.cpus import Share
from t5serve.errors import StartupError
from t5serve.models.declaration import Declaration
from t5serve.models.placement import Placement
from t5serve.settings import Settings, parse_cpu_set

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="pinning is Linux's")


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of four cores without hyperthreads, and without a quota."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    monkeypatch.setattr(cpus, "physical_cores", sorted)
    monkeypatch.setattr(cpus, "quota", lambda: None)


def test_models_at_the_start_have_cores_of_their_own() -> None:
    """Those that load at the start divide the cores; one on first use runs beside them."""
    first = Declaration(name="a", model="a.gguf")
    second = Declaration(name="b", model="b.gguf", threads=1)
    later = Declaration(name="c", model="c.gguf", load="first_use", workers=2)
    placement = Placement([first, second, later])
    assert placement.shares(first) == [Share(3, (0, 1, 2), can_split=True)]
    assert placement.shares(second) == [Share(1, (3,))]
    assert placement.shares(later) == [Share(1, ())] * 2


def test_models_on_first_use_divide_the_cores_that_are_left() -> None:
    """Where nothing loads at the start, a model on first use has a thread per core."""
    later = Declaration(name="c", model="c.gguf", load="first_use")
    assert Placement([later]).shares(later) == [Share(4, (), can_split=True)]
    beside = Declaration(name="a", model="a.gguf", threads=1)
    assert Placement([beside, later]).shares(later) == [Share(3, (), can_split=True)]


def test_a_model_that_a_reload_adds_is_not_pinned() -> None:
    """The plan is made once: pinned cores of others stay theirs."""
    first = Declaration(name="a", model="a.gguf")
    placement = Placement([first])
    assert placement.shares(Declaration(name="b", model="b.gguf")) == [Share(1, ())]
    replaced = Declaration(name="a", model="other.gguf")
    assert placement.shares(replaced) == [Share(4, (0, 1, 2, 3), can_split=True)]


def test_a_processor_that_is_not_allowed() -> None:
    """The setting is named."""
    with pytest.raises(StartupError, match="T5SERVE_CPU_SET: this process may not use 9"):
        Placement([Declaration(model="a.gguf")], (9,))


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8", (0, 1, 2, 3, 8)), ("5", (5,)), (" 2 , 0-1 ", (0, 1, 2))]
)
def test_lists_of_processors(text: str, cpus: tuple[int, ...]) -> None:
    """Processors are named as the kernel names them."""
    assert parse_cpu_set(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-", "3-1", "-1", "1,,2", "99999", "0-99999", "0x1"])
def test_what_is_no_list_of_processors(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="processors"):
        Settings(cpu_set=text)  # type: ignore[arg-type]
