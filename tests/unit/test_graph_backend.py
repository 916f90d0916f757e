"""The graph backend against llama.cpp's own graph, and against itself in other batches."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from support import tiny
from support.conversions import convert_reranker
from t5engine.backend import Backend, BackendError
from t5engine.decoding.parameters import GenerationConfig
from t5engine.decoding.search import Search
from t5engine.decoding.strategy import start_search
from t5engine.graph.graph_backend import GraphBackend
from t5engine.worker.model import LoadError, Model, load_model
from t5gguf import recipe
from t5gguf.convert import Converter
from t5gguf.writer import Provenance

Logits = npt.NDArray[np.float32]
LIMITS = {"threads": 2, "max_input_tokens": 512, "max_tokens": 128, "logit_scale": None}
QUERIES = tiny.QUERIES.read_text().splitlines()
# Batches of different sizes sum in different orders: a smaller gap between logits is a near tie.
NEAR_TIE = 0.02


def open_file(path: Path, backend: str, rows: int = 16) -> Model:
    return load_model(path, backend=backend, rows=rows, **LIMITS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def embedded() -> Model:
    return open_file(recipe.load("tiny-t5").model_path(), "graph")


@pytest.fixture
def backend(embedded: Model) -> Iterator[GraphBackend]:
    """The embedded model's backend, with every row free."""
    assert isinstance(embedded.backend, GraphBackend)
    yield embedded.backend
    for row in range(embedded.backend.rows):
        embedded.backend.release(row)


def decode(backend: Backend, row: int, ids: Sequence[int], tokens: Sequence[int]) -> Logits:
    """Returns the logits after each decoder input, decoded alone."""
    backend.encode(row, ids)
    logits = [backend.step([row], [token])[0].copy() for token in tokens]
    backend.release(row)
    return np.stack(logits)


def relative_error(reference: Logits, logits: Logits) -> float:
    return float(np.abs(reference - logits).max() / reference.std())


class RunningQuery:
    """A query that is being decoded, as in the worker's loop."""

    def __init__(self, model: Model, query: str, row: int) -> None:
        self.row = row
        model.backend.encode(row, model.vocabulary.encode(query))
        self.next = model.start_token
        self.gap = np.inf
        self._suppressed = model.vocabulary.suppressed
        self.search: Search = start_search(
            GenerationConfig(max_tokens=40),
            start=model.start_token,
            eos=model.vocabulary.eos,
            suppressed=self._suppressed,
        )

    @property
    def tokens(self) -> list[int]:
        return self.search.settled[0].tokens

    @property
    def logprob(self) -> float:
        return self.search.settled[0].logprob

    def choose_token(self, logits: Logits) -> bool:
        """Chooses the next token. Returns whether the query has ended."""
        allowed = logits.copy()
        allowed[self._suppressed] = -np.inf
        top = np.sort(allowed)[-2:]
        self.gap = min(self.gap, float(top[1] - top[0]))
        branches = self.search.advance([logits])
        self.next = branches[0].token if branches else -1
        return not branches


def run_step(model: Model, queries: list[RunningQuery]) -> list[RunningQuery]:
    """Runs one step of all queries. Returns those that continue."""
    logits = model.backend.step([query.row for query in queries], [query.next for query in queries])
    ended = [query.choose_token(row) for query, row in zip(queries, logits, strict=True)]
    for query, has_ended in zip(queries, ended, strict=True):
        if has_ended:
            model.backend.release(query.row)
    return [query for query, has_ended in zip(queries, ended, strict=True) if not has_ended]


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, object]:
    """Draws a config.json of a small T5."""
    gated = draw(st.booleans())
    return tiny.FLAVOURS["tied_relu"] | {
        "d_model": 32 * draw(st.integers(1, 3)),
        "d_kv": draw(st.sampled_from([8, 24, 64])),  # our own attention kernel supports the last
        "d_ff": 32 * draw(st.integers(1, 4)),
        "num_heads": 4 * draw(st.integers(1, 2)),
        "num_layers": draw(st.integers(1, 3)),
        "num_decoder_layers": draw(st.integers(1, 3)),
        "relative_attention_num_buckets": draw(st.sampled_from([8, 16, 32])),
        "relative_attention_max_distance": draw(st.sampled_from([128, 128, 40])),
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "is_gated_act": gated,
        "tie_word_embeddings": draw(st.booleans()),
        "vocab_size": 320 + draw(st.integers(0, 40)),
    }


@pytest.mark.slow
@given(config=shapes(), file_type=st.sampled_from(["F32", "F16", "Q8_0", "Q4_0"]), data=st.data())
@settings(max_examples=12, deadline=None, phases=[Phase.generate])  # shrinking takes minutes
def test_logits_are_llama_cpp_s(
    config: dict[str, object],
    file_type: str,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Logits equal those of llama.cpp's own graph for any shape, lengths and mix of positions.

    The converter also compares each file to the numpy reference, with this backend. That covers
    what llama.cpp does not support: decoders deeper than the encoder, and other distances.
    """
    directory = tmp_path_factory.mktemp("shape")
    tiny.build_config(config, directory, seed=data.draw(st.integers(0, 99)))
    file = directory / "x.gguf"
    queries, calibration = ["what is a kangaroo"], QUERIES[:8]
    Converter(directory, Provenance("x"), queries, calibration).convert(
        file, file_type, progress=False
    )
    deep = str(config["num_decoder_layers"]) > str(config["num_layers"])
    if deep or config["relative_attention_max_distance"] != 128:
        with pytest.raises(LoadError, match=r"can't load it|llama\.cpp's 128"):
            open_file(file, "llama")
        return
    graph, llama = open_file(file, "graph"), open_file(file, "llama")
    rng = np.random.RandomState(data.draw(st.integers(0, 99)))
    count = data.draw(st.integers(1, 16))
    lengths = data.draw(st.lists(st.integers(1, 70), min_size=count, max_size=count))
    inputs = [[*rng.randint(3, 320, length - 1), 1] for length in lengths]
    tokens = [[0, *rng.randint(3, 320, data.draw(st.integers(0, 20)))] for _ in range(count)]
    expected = [
        decode(llama.backend, 0, ids, path) for ids, path in zip(inputs, tokens, strict=True)
    ]
    for row, ids in enumerate(inputs):
        graph.backend.encode(row, ids)
    tolerance = {"F32": 2e-3, "F16": 1e-2, "Q8_0": 0.15, "Q4_0": 0.15}[file_type]
    for position in range(max(map(len, tokens))):
        rows = [row for row in range(count) if position < len(tokens[row])]
        logits = graph.backend.step(rows, [tokens[row][position] for row in rows])
        for row, row_logits in zip(rows, logits, strict=True):
            assert relative_error(expected[row][position], row_logits) <= tolerance
    graph.backend.release(0)


def test_any_batch_gives_the_same_tokens(embedded: Model, backend: GraphBackend) -> None:
    """Queries that join and leave at any step decode as they do alone, except at near ties."""
    rng = random.Random(7)
    alone = {}
    for text in QUERIES[:60]:
        query = RunningQuery(embedded, text, 0)
        while run_step(embedded, [query]):
            pass
        alone[text] = query
    pending = list(alone)
    rng.shuffle(pending)
    active: list[RunningQuery] = []
    ended: dict[str, RunningQuery] = {}
    text_by_row: dict[int, str] = {}
    while pending or active:
        used = {query.row for query in active}
        free = [row for row in range(backend.rows) if row not in used]
        for row in rng.sample(free, min(len(free), len(pending), rng.randint(0, 3))):
            text_by_row[row] = pending.pop()
            active.append(RunningQuery(embedded, text_by_row[row], row))
        if active:
            rng.shuffle(active)
            continuing = run_step(embedded, active)
            ended |= {text_by_row[query.row]: query for query in active if query not in continuing}
            active = continuing
    for text, query in ended.items():
        is_same = query.tokens == alone[text].tokens
        assert is_same or min(query.gap, alone[text].gap) < NEAR_TIE, text
        if is_same:
            assert query.logprob == pytest.approx(alone[text].logprob, abs=0.05)
    assert len(ended) == len(alone)


def test_rows_share_an_input(embedded: Model, backend: GraphBackend) -> None:
    """Rows that share an input decode as they do alone, next to a row with a separate input."""
    first, second = (embedded.vocabulary.encode(query) for query in QUERIES[:2])
    paths = {0: [0, 9, 8], 3: [0, 7, 5], 4: [0, 30, 31], 1: [0, 12, 13]}
    inputs = {0: first, 3: first, 4: first, 1: second}
    expected = {row: decode(backend, row, inputs[row], path) for row, path in paths.items()}
    backend.encode(0, first)
    backend.encode(1, second)
    backend.reorder([3], [0])
    backend.reorder([4], [3])
    for position in range(3):
        logits = backend.step(list(paths), [path[position] for path in paths.values()])
        for row, row_logits in zip(paths, logits, strict=True):
            assert relative_error(expected[row][position], row_logits) < 0.05
    backend.release(0)  # the other rows keep the input
    assert (
        relative_error(continue_row(backend, 3, [9]), decode(backend, 5, first, [*paths[3], 9])[3:])
        < 0.05
    )


def continue_row(backend: GraphBackend, row: int, tokens: Sequence[int]) -> Logits:
    return np.stack([backend.step([row], [token])[0].copy() for token in tokens])


def test_several_tokens_at_once(embedded: Model, backend: GraphBackend) -> None:
    """Tokens fed together have the same logits as one by one, and can be rewound."""
    ids = embedded.vocabulary.encode(QUERIES[5])
    path = [0, 40, 41, 42, 43]
    expected = decode(backend, 0, ids, path)
    backend.encode(2, ids)
    backend.step([2], path[:1])
    (logits,) = backend.extend([2], [path[1:4]])
    assert relative_error(expected[1:4], logits) < 0.05
    backend.rewind(2, 2)
    (repeated,) = backend.extend([2], [path[2:]])
    assert relative_error(expected[2:], repeated) < 0.05


def test_reorder_continues_from_the_parents(embedded: Model, backend: GraphBackend) -> None:
    """After a reorder each row continues as its parent would have, swaps included."""
    ids = embedded.vocabulary.encode(QUERIES[9])
    paths = [[0, 20, 21], [0, 22, 23], [0, 24, 25]]
    backend.encode(0, ids)
    backend.reorder([1, 2], [0, 0])
    for position in range(3):
        backend.step([0, 1, 2], [path[position] for path in paths])
    backend.reorder([0, 1, 2], [1, 0, 1])
    logits = [row.copy() for row in backend.step([0, 1, 2], [50, 51, 52])]
    for index, (parent, token) in enumerate([(1, 50), (0, 51), (1, 52)]):
        expected = decode(backend, 7, ids, [*paths[parent], token])[-1]
        assert relative_error(expected, logits[index]) < 0.05


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """Returns models whose heads and width our own kernels take, by file type."""

    @cache
    def load(file_type: str) -> Model:
        file = convert_reranker(tmp_path_factory.mktemp("reranker"), file_type)
        return open_file(file, "graph")

    return load


@pytest.fixture(params=["F32", "F16", "Q8_0", "Q4_0"])
def reranker(request: pytest.FixtureRequest, rerankers: Callable[[str], Model]) -> Model:
    return rerankers(request.param)


@pytest.mark.parametrize(
    ("reranker", "tolerance"),
    [("F32", 1e-5), ("F16", 1e-3), ("Q8_0", 0.15), ("Q4_0", 0.15)],
    indirect=["reranker"],
)
def test_a_single_step_needs_no_keys_and_values(reranker: Model, tolerance: float) -> None:
    """Over the encoder's states the logits are those over K and V, except for rounding."""
    backend = reranker.backend
    inputs = [reranker.vocabulary.encode(query) for query in QUERIES[:5]]
    expected = [decode(backend, 0, ids, [0])[0] for ids in inputs]
    for row, ids in enumerate(inputs):
        backend.encode(row, ids, is_single_step=True)
    for row, logits in enumerate(backend.step(range(5), [0] * 5)):
        assert relative_error(expected[row], logits) < tolerance
        backend.release(row)


@pytest.mark.parametrize("reranker", ["F16", "Q8_0", "Q4_0"], indirect=True)
def test_what_shares_a_single_step_changes_no_bit(reranker: Model) -> None:
    """The logits of an input are the same in any company, whatever the lengths."""
    backend = reranker.backend
    rng = np.random.RandomState(0)
    inputs = [[*rng.randint(3, 320, length - 1), 1] for length in (3, 70, 17, 33, 64, 5, 150, 9)]

    def judge(rows: Sequence[int]) -> dict[int, Logits]:
        for row in rows:
            backend.encode(row, inputs[row], is_single_step=True)
        logits = backend.step(rows, [0] * len(rows))
        found = {row: one.copy() for row, one in zip(rows, logits, strict=True)}
        for row in rows:
            backend.release(row)
        return found

    alone = {row: judge([row])[row] for row in range(8)}
    for rows in ([0, 1], [2, 3, 4, 5], [6, 0, 7], list(range(8))):
        for row, logits in judge(rows).items():
            assert np.array_equal(logits, alone[row])


def test_a_single_step_moves_with_its_row(reranker: Model) -> None:
    """An input that waits for its step may be given another row, or several."""
    backend = reranker.backend
    ids = reranker.vocabulary.encode(QUERIES[3])
    backend.encode(1, ids, is_single_step=True)
    (expected,) = (logits.copy() for logits in backend.step([1], [0]))
    backend.rewind(1, 0)
    backend.reorder([4, 5], [1, 1])
    backend.release(1)
    for logits in backend.step([4, 5], [0, 0]):
        assert relative_error(expected, logits) < 1e-4
    for row in (4, 5):
        backend.release(row)


@pytest.mark.parametrize("reranker", ["Q8_0"], indirect=True)
def test_single_steps_are_steps_of_their_own(reranker: Model) -> None:
    """A step that also has other inputs is refused, because K and V of the first are missing."""
    backend = reranker.backend
    backend.encode(0, [5, 6, 1], is_single_step=True)
    backend.encode(1, [5, 6, 1])
    with pytest.raises(BackendError, match="can't share a step"):
        backend.step([0, 1], [0, 0])
    backend.encode(0, [5, 6, 1])  # the row's new input has both
    backend.step([0, 1], [0, 0])
    for row in (0, 1):
        backend.release(row)


@pytest.mark.slow
def test_long_inputs_and_outputs(backend: GraphBackend) -> None:
    """The longest input and output of the service have the logits of llama.cpp's graph."""
    llama = open_file(recipe.load("tiny-t5").model_path(), "llama")
    rng = np.random.RandomState(0)
    ids = [*rng.randint(3, 8000, 511), 1]
    path = [0, *rng.randint(3, 8000, 127)]
    assert (
        relative_error(decode(llama.backend, 0, ids, path), decode(backend, 15, ids, path)) < 0.15
    )


def test_invalid_calls_are_refused(backend: GraphBackend) -> None:
    """Each of these calls would end the process, or read another row's memory."""
    invalid_calls: list[tuple[str, object]] = [
        ("is not in 0..15", lambda: backend.encode(16, [1])),
        ("is not in 0..15", lambda: backend.encode(-1, [1])),
        ("input tokens", lambda: backend.encode(0, [])),
        ("input tokens", lambda: backend.encode(0, [1] * 513)),
        ("token id", lambda: backend.encode(0, [1 << 20])),
        ("token id", lambda: backend.encode(0, [-1])),
        ("before encode", lambda: backend.step([0], [0])),
        ("distinct rows", lambda: backend.step([], [])),
        ("distinct rows", lambda: backend.step([0, 0], [0, 0])),
        ("distinct rows", lambda: backend.step([0], [0, 0])),
        ("is not in 0..15", lambda: backend.reorder([16], [0])),
        ("one parent for each", lambda: backend.reorder([0, 0], [0, 0])),
        ("not open", lambda: backend.reorder([0], [1])),
        ("can't go back", lambda: backend.rewind(0, 0)),
    ]
    for message, call in invalid_calls:
        assert callable(call)
        with pytest.raises(BackendError, match=message):
            call()
    backend.encode(0, [1])
    with pytest.raises(BackendError, match="token id"):
        backend.step([0], [1 << 20])
    with pytest.raises(BackendError, match="more than 128"):
        backend.extend([0], [[0] * 129])
    for _ in range(128):
        backend.step([0], [5])
    with pytest.raises(BackendError, match="more than 128"):
        backend.step([0], [5])


def test_graphs_are_kept_within_their_memory(
    embedded: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the limit, the least recently used graph is freed; it is rebuilt when needed."""
    from t5engine.graph import graph_backend

    monkeypatch.setattr(graph_backend, "GRAPH_MEMORY", 1)
    backend = open_file(recipe.load("tiny-t5").model_path(), "graph").backend
    assert isinstance(backend, GraphBackend)
    ids = embedded.vocabulary.encode(QUERIES[0])
    expected = decode(backend, 0, ids, [0, 5])
    for row in (1, 9, 0):
        assert relative_error(expected, decode(backend, row, ids, [0, 5])) < 0.05
    assert len(backend._decoders) == 1
    assert len(backend._encoders) == 1


def test_reorder_frees_unused_inputs(embedded: Model, backend: GraphBackend) -> None:
    """A row that moves to its parent's input frees its own; else inputs would run out."""
    ids = embedded.vocabulary.encode(QUERIES[0])
    backend.encode(0, ids)
    backend.encode(1, ids)
    backend.reorder([1], [0])
    backend.release(0)
    for row in range(backend.rows):
        if row != 1:
            backend.encode(row, ids)
    assert len(set(backend._inputs.values())) == backend.rows


def test_a_missing_tensor_is_a_load_error(tmp_path: Path) -> None:
    """A file whose header lacks a tensor is refused, without a KeyError or a ggml assertion."""
    file = recipe.load("tiny-t5").model_path().read_bytes()
    path = tmp_path / "x.gguf"
    path.write_bytes(file.replace(b"dec.blk.1.ffn_down.weight", b"dec.blk.1.ffn_dawn.weight"))
    with pytest.raises(LoadError, match=r"ffn_down\.weight should be .* is missing"):
        open_file(path, "graph")
    with pytest.raises(LoadError, match="can't load it"):
        open_file(path, "auto")


@pytest.mark.parametrize(
    "name", ["dec.blk.0.attn_norm", "enc.blk.0.attn_rel_b", "enc.blk.1.attn_q"]
)
@pytest.mark.parametrize("tensor_type", [26, 36, 99])  # I32, a removed type, an unknown one
def test_a_tensor_of_a_wrong_type_is_a_load_error(
    name: str, tensor_type: int, tmp_path: Path
) -> None:
    """A type without a ggml kernel would end the process at the first step."""
    raw = bytearray(recipe.load("tiny-t5").model_path().read_bytes())
    end = raw.index(f"{name}.weight".encode()) + len(f"{name}.weight")
    (rank,) = struct.unpack_from("<I", raw, end)
    struct.pack_into("<I", raw, end + 4 + 8 * rank, tensor_type)
    path = tmp_path / "x.gguf"
    path.write_bytes(raw)
    with pytest.raises(LoadError):
        open_file(path, "graph")
