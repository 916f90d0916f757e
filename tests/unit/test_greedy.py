"""A lone greedy sequence that is decoded in C: the same as step by step."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from support import tiny
from t5engine.backend import BackendError
from t5engine.decoding.parameters import GenerationConfig
from t5engine.frames import pack
from t5engine.graph.graph_backend import GraphBackend
from t5engine.graph.greedy import GreedyDecoder
from t5engine.messages import FromWorker, Generate, Generated, Pulse
from t5engine.worker.job import Generation
from t5engine.worker.loop import Loop
from t5engine.worker.model import Model, load_model
from t5engine.worker.step import decode_step, run_greedily
from t5gguf import recipe

QUERIES = tiny.QUERIES.read_text().splitlines()[:40]
LIMIT = 64


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(
        recipe.load("tiny-t5").model_path(),
        threads=1,
        max_input_tokens=128,
        max_tokens=LIMIT,
        logit_scale=None,
        backend="graph",
        rows=4,
    )


@pytest.fixture
def backend(model: Model) -> Iterator[GraphBackend]:
    """The model's backend; all rows are free afterwards."""
    assert isinstance(model.backend, GraphBackend)
    yield model.backend
    for row in range(model.backend.rows):
        model.backend.release(row)


@pytest.fixture
def decoder(model: Model) -> GreedyDecoder:
    assert model.greedy is not None
    return model.greedy


@pytest.fixture
def silent() -> Iterator[int]:
    """A file descriptor at which nothing arrives."""
    reader, writer = os.pipe()
    yield reader
    os.close(reader)
    os.close(writer)


class Requests:
    """A connection from which a loop reads requests, and to which it sends their results."""

    def __init__(self, requests: list[Generate], descriptor: int) -> None:
        self._requests = list(requests)
        self._descriptor = descriptor
        self.results: list[FromWorker] = []

    def fileno(self) -> int:
        return self._descriptor

    def has_message(self, timeout: float = 0.0) -> bool:
        del timeout
        return False

    def is_silent(self, seconds: float) -> bool:
        del seconds
        return False

    def receive(self) -> bytes | None:
        return pack(self._requests.pop(0))[4:] if self._requests else None

    def send(self, message: FromWorker) -> None:
        self.results.append(message)


def decode_all(
    model: Model, descriptor: int, config: GenerationConfig, drafts: int, inputs: list[str]
) -> list[object]:
    """Returns what a worker finds for each input, one after the other, without the times."""
    requests = [Generate(number, config, text) for number, text in enumerate(inputs)]
    connection = Requests(requests, descriptor)
    Loop(connection, model, drafts=drafts).run()  # type: ignore[arg-type]
    results = []
    for message in connection.results:
        if isinstance(message, Pulse):  # of a slow machine
            continue
        assert isinstance(message, Generated)
        drafts_kept = (message.drafted, message.drafts_kept)
        results.append((message.outputs, message.prompt_tokens, *drafts_kept))
    return list(results)


@pytest.mark.parametrize("drafts", [0, 3, 5])
@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(max_tokens=1),
        GenerationConfig(max_tokens=2),
        GenerationConfig(max_tokens=5),
        GenerationConfig(max_tokens=LIMIT),
        GenerationConfig(max_tokens=20, top_logprobs=0),
        GenerationConfig(max_tokens=20, logit_bias={1: -100.0, 5: 12.5, 6: 12.5}),
        GenerationConfig(max_tokens=20, logit_bias={1: 6.0, 3: -2.0}),
    ],
    ids=["one token", "two tokens", "five tokens", "the end", "details", "no end", "early end"],
)
def test_results_are_those_of_single_steps(
    model: Model, silent: int, config: GenerationConfig, drafts: int
) -> None:
    """Tokens, log-probabilities and numbers of drafts are equal, bit by bit."""
    inputs = QUERIES + [f"{a} {b}" for a, b in zip(QUERIES, QUERIES[7:], strict=False)]
    stepwise = dataclasses.replace(model, greedy=None)
    expected = decode_all(stepwise, silent, config, drafts, inputs)
    assert decode_all(model, silent, config, drafts, inputs) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True, "seed": 1},
        {"num_beams": 2},
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"presence_penalty": 0.5},
        {"top_logprobs": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_searches_take_single_steps(
    model: Model, silent: int, options: dict[str, object]
) -> None:
    """What looks at more than the most likely token is not decoded in C."""
    config = GenerationConfig(max_tokens=8, **options)  # type: ignore[arg-type]
    generation = Generation(Generate(0, config, QUERIES[0]), model, 0)
    assert run_greedily(model, generation, 0, silent) is None
    model.backend.release(0)


@pytest.mark.parametrize("fields", [{"stream": True}, {"stop": ["."]}], ids=["stream", "stop"])
def test_what_is_looked_at_while_it_grows_takes_single_steps(
    model: Model, silent: int, fields: dict[str, object]
) -> None:
    """A streamed text, and one that a stop string may end."""
    request = Generate(0, GenerationConfig(max_tokens=8), QUERIES[0], **fields)  # type: ignore[arg-type]
    assert run_greedily(model, Generation(request, model, 0), 0, silent) is None
    model.backend.release(0)


def test_a_message_ends_a_run(model: Model, backend: GraphBackend, decoder: GreedyDecoder) -> None:
    """The worker looks at its messages after each token, as in single steps."""
    ids = model.vocabulary.encode(QUERIES[0])
    reader, writer = os.pipe()
    os.write(writer, b"a message")
    tokens: list[int] = []
    backend.encode(0, ids)
    for count in range(1, 4):
        run = decoder.run(ids, tokens, LIMIT, bias={}, drafts=0, descriptor=reader)
        tokens += [token for token, _ in run.choices]
        assert len(tokens) == count
    os.close(reader)
    os.close(writer)


def suppress(model: Model, ids: Iterable[int]) -> Model:
    """Returns the model with other ids that are never generated."""
    assert isinstance(model.backend, GraphBackend)
    vocabulary = copy.copy(model.vocabulary)
    vocabulary.suppressed = np.array(sorted(ids), np.intp)
    start, eos = model.start_token, vocabulary.eos
    greedy = GreedyDecoder(model.backend, start=start, eos=eos, suppressed=vocabulary.suppressed)
    return dataclasses.replace(model, vocabulary=vocabulary, greedy=greedy)


@pytest.mark.parametrize("drafts", [0, 3])
def test_suppressed_tokens_are_passed_over(model: Model, silent: int, drafts: int) -> None:
    """The most likely of the others follows, also in the middle of a draft, as in single steps."""
    config = GenerationConfig(max_tokens=20, logit_bias={7: 1.5})
    for query in QUERIES[:20]:
        ids = model.vocabulary.encode(query)
        limited = suppress(model, {0, 2, 7, *ids[1:-1:3]})
        stepwise = dataclasses.replace(limited, greedy=None)
        expected = decode_all(stepwise, silent, config, drafts, [query])
        assert decode_all(limited, silent, config, drafts, [query]) == expected


def test_a_sequence_ends_if_all_tokens_are_suppressed(model: Model, silent: int) -> None:
    """As with the processors of single steps."""
    nothing = suppress(model, range(model.backend.n_vocab))
    config = GenerationConfig(max_tokens=20)
    expected = decode_all(dataclasses.replace(nothing, greedy=None), silent, config, 3, QUERIES[:1])
    assert decode_all(nothing, silent, config, 3, QUERIES[:1]) == expected


@pytest.mark.parametrize("drafts", [0, 3])
def test_a_run_ends_before_logits_that_are_no_numbers(
    model: Model, backend: GraphBackend, silent: int, drafts: int
) -> None:
    """The step is done again as usual, which fails the job and clears the cache."""
    ids = model.vocabulary.encode(QUERIES[0])
    generation = Generation(Generate(0, GenerationConfig(max_tokens=8), ids=ids), model, 0)
    backend._caches.cross_arrays[0][0, 0] = np.nan
    assert run_greedily(model, generation, drafts, silent) is None
    (message,) = decode_step(model, [generation], drafts)
    assert "overflow" in getattr(message, "message", "")
    assert decode_all(model, silent, GenerationConfig(max_tokens=8), drafts, QUERIES[:1])


def test_what_is_no_number_is_cleared(
    model: Model, backend: GraphBackend, decoder: GreedyDecoder, silent: int
) -> None:
    """Before the step is done again a message may come, and another job may get the row."""
    ids = model.vocabulary.encode(QUERIES[0])
    backend.encode(0, ids)
    run = decoder.run(ids, [], 3, bias={}, drafts=0, descriptor=silent)
    tokens = [token for token, _ in run.choices]
    caches = backend._caches.self_arrays
    caches[0][0, 1] = np.nan
    assert decoder.run(ids, tokens, LIMIT, bias={}, drafts=0, descriptor=silent).choices == []
    assert all(np.isfinite(cache[0, len(tokens) :]).all() for cache in caches)
    caches[0][0, 1] = 0


def test_a_row_in_another_state_is_refused(
    model: Model, backend: GraphBackend, decoder: GreedyDecoder, silent: int
) -> None:
    """Nothing is computed at a position that the row does not have."""
    ids = model.vocabulary.encode(QUERIES[0])
    with pytest.raises(BackendError, match="position"):
        decoder.run(ids, [], LIMIT, bias={}, drafts=0, descriptor=silent)
    backend.encode(0, ids)
    with pytest.raises(BackendError, match="position"):
        decoder.run(ids, [5], LIMIT, bias={}, drafts=0, descriptor=silent)
    assert decoder.run(ids, [], LIMIT + 1, bias={}, drafts=0, descriptor=silent).choices == []
    with pytest.raises(BackendError, match="token id"):
        decoder.run(ids, [], LIMIT, bias={backend.n_vocab: 1.0}, drafts=0, descriptor=silent)
    backend.release(0)
    backend.encode(1, ids)
    backend.reorder([0], [1])  # over the input of row 1
    assert decoder.run(ids, [], LIMIT, bias={}, drafts=0, descriptor=silent).choices == []


def test_without_compiled_kernels_there_is_none() -> None:
    """`kernels = "ggml"` asks for nothing of ours."""
    model = load_model(
        recipe.load("tiny-t5").model_path(),
        threads=1,
        max_input_tokens=16,
        max_tokens=16,
        logit_scale=None,
        backend="graph",
        rows=1,
        kernels="ggml",
    )
    assert model.greedy is None
