"""The cache of results: least recently used, bounded in bytes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5serve.models.cache import ResultCache
from t5serve.settings import Settings

SIZES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2000)), max_size=200)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_the_least_recently_used_result_is_dropped_first() -> None:
    """Reading a result makes it the last to go; asking whether it is there does not."""
    cache = ResultCache(10_000)
    for number in range(4):
        cache.put(key(number), b"x" * 2000)
    assert cache.get(key(0)) == b"x" * 2000
    assert key(1) in cache
    cache.put(key(4), b"x" * 2000)
    assert [number for number in range(5) if key(number) in cache] == [0, 2, 3, 4]
    assert cache.evictions == 1
    assert cache.get(key(1)) is None


def test_a_result_is_replaced_in_its_place() -> None:
    """A second result of a key takes the memory of the first."""
    cache = ResultCache(10_000)
    cache.put(key(1), b"x" * 5000)
    before = cache.bytes_used
    cache.put(key(1), b"y" * 5000)
    assert (cache.bytes_used, len(cache), cache.evictions) == (before, 1, 0)
    assert cache.get(key(1)) == b"y" * 5000


def test_what_is_larger_than_the_cache_drops_nothing() -> None:
    """A result that can't fit is not kept, and the others stay."""
    cache = ResultCache(10_000)
    cache.put(key(1), b"x")
    cache.put(key(2), b"x" * 20_000)
    assert (key(1) in cache, key(2) in cache, cache.evictions) == (True, False, 0)


@given(SIZES, st.integers(0, 20_000))
def test_the_bound_holds_after_every_result(puts: list[tuple[int, int]], bound: int) -> None:
    """Keys, results and index never take more than the bound, whatever comes in which order."""
    cache = ResultCache(bound)
    kept: dict[int, int] = {}
    for number, size in puts:
        cache.put(key(number), b"x" * size)
        kept[number] = size
        assert cache.bytes_used <= bound or not len(cache)
        if (stored := cache.get(key(number))) is not None:
            assert len(stored) == size
    assert cache.evictions + len(cache) <= len(puts)


MEASURE = """
import random, sys
from pathlib import Path
from t5serve.models.cache import ResultCache

def resident():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

bound, count = int(sys.argv[1]), int(sys.argv[2])
chance = random.Random(1)
cache = ResultCache(bound)
before = peak = resident()
for number in range(count):
    cache.put(chance.randbytes(32), bytes(chance.choice((60, 150, 400, 1500))))
    if number % 500 == 0:
        peak = max(peak, resident())
print(peak - before, cache.bytes_used, cache.evictions)
"""


@pytest.mark.parametrize("bound", [8_000_000, 24_000_000])
def test_a_process_grows_by_the_bound(bound: int) -> None:
    """100,000 distinct results make a process grow by the bound and 20 % at most."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(bound), "100000"],
        check=True,
        capture_output=True,
        text=True,
    )
    growth, used, evictions = map(int, run.stdout.split())
    assert evictions > 0
    assert used <= bound
    assert growth <= 1.2 * bound


def test_no_cache() -> None:
    """0 bytes turn the cache off."""
    assert ResultCache.from_settings(Settings(cache_bytes=0)) is None
    assert ResultCache.from_settings(Settings(cache_bytes=1)) is not None
