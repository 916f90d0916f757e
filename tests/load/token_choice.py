"""What choosing tokens costs over a whole vocabulary: in ggml, in numpy, in C.

`python tests/load/token_choice.py` prints medians in microseconds, on one thread. The candidates
take turns. Logits are random.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_void_p

import numpy as np
import numpy.typing as npt

from t5engine.decoding.arithmetic import Arithmetic, NumpyArithmetic
from t5engine.decoding.logprobs import F32
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.strategy import start_search
from t5engine.graph import ggml
from t5engine.kernels.logits import find_arithmetic

EOS = 1
BEAMS = 8
STEPS = 8  # of a search, after the first one
SENTINELS = 100  # ids that are never generated, at the end of T5's vocabulary
SEARCHES = {
    "a greedy token": GenerationConfig(max_tokens=64),
    "a step of 8 beams": GenerationConfig(max_tokens=64, num_beams=BEAMS),
    "a step of 4 diverse beams": GenerationConfig(
        max_tokens=64, num_beams=4, num_beam_groups=4, diversity_penalty=1.0
    ),
}
Call = Callable[[], object]


class GgmlOperation:
    """One of ggml's operations over a row of logits, as a graph of its own.

    Args:
        name: of the function in ggml.h, which takes a context and a tensor.
        logits: the row.
    """

    def __init__(self, name: str, logits: F32) -> None:
        self._cpu = ggml.Cpu(threads=1)
        self._context = ggml.Context(8, graph=8)
        functions, address = self._cpu.ggml, self._context.address
        function = ggml.open_libllama()[name]
        function.restype, function.argtypes = c_void_p, [c_void_p, c_void_p]
        row = functions.ggml_new_tensor_1d(address, ggml.F32, logits.size)
        functions.ggml_set_input(row)
        functions.ggml_set_output(row)  # else its memory is used again
        result = function(address, row)
        functions.ggml_set_output(result)
        self._graph = functions.ggml_new_graph_custom(address, 8, False)  # noqa: FBT003 - C
        functions.ggml_build_forward_expand(self._graph, result)
        allocator = functions.ggml_gallocr_new(self._cpu.buffer_type)
        if not functions.ggml_gallocr_alloc_graph(allocator, self._graph):
            raise MemoryError(name)
        functions.ggml_backend_tensor_set(row, logits.ctypes.data, 0, logits.nbytes)

    def __call__(self) -> None:
        self._cpu.compute(self._graph, "one operation")


def list_calls(n_vocab: int) -> dict[tuple[str, str], Call]:
    """Returns what is measured, by what is computed and by whom."""
    draw = np.random.default_rng(0)
    rows = [draw.normal(-8, 3, n_vocab).astype(np.float32) for _ in range(BEAMS + STEPS)]
    excluded = np.array([0, *range(n_vocab - SENTINELS, n_vocab)], np.int64)
    equal = np.full(BEAMS * n_vocab, -np.inf, np.float32)  # most tokens are excluded
    equal[:: n_vocab // 4] = 0.5
    equal_rows = list(equal.reshape(BEAMS, n_vocab))
    programs: Mapping[str, Arithmetic] = {"numpy": NumpyArithmetic(), "C": find_arithmetic()}
    calls: dict[tuple[str, str], Call] = {
        ("the highest logit", "ggml"): GgmlOperation("ggml_argmax", rows[0]),
        ("the highest logit", "numpy"): rows[0].argmax,
        ("the sum of the exponentials", "ggml"): GgmlOperation("ggml_soft_max", rows[0]),
        ("16 of 8 rows, most -inf", "argpartition"): lambda: np.argpartition(-equal, 2 * BEAMS),
    }
    for program, arithmetic in programs.items():
        calls["the sum of the exponentials", program] = _sum(arithmetic, rows[0])
        calls["16 of 8 rows, most -inf", program] = _rank(arithmetic, equal_rows)
        for search, config in SEARCHES.items():
            calls[search, program] = _search(config, arithmetic, rows, excluded)
    return calls


def _sum(arithmetic: Arithmetic, row: F32) -> Call:
    return lambda: arithmetic.log_sum_exp(row)


def _rank(arithmetic: Arithmetic, rows: Sequence[F32]) -> Call:
    return lambda: arithmetic.best(rows, [0.0] * len(rows), 2 * BEAMS)


def _search(
    config: GenerationConfig,
    arithmetic: Arithmetic,
    rows: Sequence[F32],
    excluded: npt.NDArray[np.int64],
) -> Call:
    def run() -> None:
        search = start_search(config, start=0, eos=EOS, suppressed=excluded, arithmetic=arithmetic)
        count = len(search.advance(rows[:1]))
        for step in range(STEPS):
            count = len(search.advance(rows[step : step + count]))

    return run


def measure(n_vocab: int, rounds: int) -> dict[tuple[str, str], float]:
    """Returns the median microseconds of each call; of a search, those of one of its steps."""
    calls = list_calls(n_vocab)
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for key, call in calls.items():
            steps = 1 + STEPS if key[0] in SEARCHES else 1
            started = time.perf_counter()
            call()
            taken[key].append(1e6 * (time.perf_counter() - started) / steps)
    return {key: statistics.median(values) for key, values in taken.items()}


def table(measured: Mapping[int, Mapping[tuple[str, str], float]]) -> str:
    """Returns a table in Markdown: a column per size of the vocabulary."""
    head = ["microseconds", "by", *(f"{n_vocab:,} tokens" for n_vocab in measured)]
    lines = [head, ["---", "---", *(["--:"] * len(measured))]]
    lines += [
        [*key, *(f"{columns[key]:.1f}" for columns in measured.values())]
        for key in sorted(next(iter(measured.values())))
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--tokens", type=int, nargs="+", default=[10_048, 32_128])
    options = parser.parse_args()
    print(table({n_vocab: measure(n_vocab, options.rounds) for n_vocab in options.tokens}))


if __name__ == "__main__":
    main()
