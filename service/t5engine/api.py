"""T5: a model in this process's hands, without a service.

with T5("model.gguf") as t5:
    (generation,) = t5.generate("translate English to German: a house")
    print(generation.text)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

import msgspec

from t5engine.background import Background
from t5engine.concurrency import map_concurrently
from t5engine.config import WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.logprobs import log_softmax
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import (
    DeadlineExceeded,
    EngineNotReady,
    InvalidInput,
    ModelLoadError,
    QueueFull,
)
from t5engine.header import HeaderError, open_checked
from t5engine.messages import ModelInfo, Output
from t5engine.pool.engine import Engine

Item = TypeVar("Item")
Answer = TypeVar("Answer")

DEFAULT_MAX_TOKENS = 64
NO_DEADLINE_SECONDS = 86_400.0
RESTART_SECONDS = 60.0  # how long a call waits for a worker that takes the place of a dead one
RESTART_PAUSE_SECONDS = 0.05


class GenerationParameters(TypedDict, total=False):
    """The parameters of `T5.generate`, under Hugging Face's names; see `GenerationConfig`."""

    max_tokens: int
    do_sample: bool
    num_return_sequences: int
    early_stopping: bool | Literal["never"]
    num_beams: int
    num_beam_groups: int
    length_penalty: float
    diversity_penalty: float
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repetition_penalty: float
    no_repeat_ngram_size: int
    seed: int | None
    presence_penalty: float
    frequency_penalty: float
    logit_bias: dict[int, float]
    top_logprobs: int | None


class EngineOptions(TypedDict, total=False):
    """How a model is run; the defaults are those of the service."""

    workers: int
    threads: int | None
    max_batch: int
    max_input_tokens: int
    backend: Literal["auto", "graph", "llama"]
    kernels: Literal["auto", "ggml"]
    logit_scale: float | None


@dataclass(frozen=True)
class Generation:
    """What was generated for one text.

    Attributes:
        outputs: the sequences, best first.
        prompt_tokens: the number of tokens of the text, `</s>` included.
    """

    outputs: list[Output]
    prompt_tokens: int

    @property
    def text(self) -> str:
        """The text of the best sequence."""
        return self.outputs[0].text


@dataclass(frozen=True)
class Score:
    """How likely a target text is after a source text.

    Attributes:
        logprobs: the natural log of the probability of each token of the target, `</s>` included.
        tokens: the text of each token.
    """

    logprobs: list[float]
    tokens: list[str]

    @property
    def logprob(self) -> float:
        """The natural log of the probability of the whole target."""
        return sum(self.logprobs)


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text.

    Attributes:
        ids: `</s>` is the last.
        texts: the text of each id.
    """

    ids: list[int]
    texts: list[str]


class T5:
    """A T5 model of a GGUF file.

    It runs in worker processes, which decode the texts of all calls together. Any thread may call
    it. A forked process starts workers of its own at its first call.

    Args:
        path: the GGUF file.
        options: how the model is run.

    Raises:
        ModelLoadError: the model can't be loaded.
    """

    def __init__(self, path: str | Path, **options: Unpack[EngineOptions]) -> None:
        try:
            metadata = open_checked(Path(path)).metadata
        except (OSError, HeaderError) as error:
            raise ModelLoadError(str(error)) from error
        self._start_token = int(metadata.get("t5.decoder_start_token_id", 0))
        self._background = Background(lambda: _open_engine(Path(path), options))
        self._background.open().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers. Without it they end with the process, or when this object goes."""
        self._background.close()

    @property
    def info(self) -> ModelInfo:
        """Facts about the model."""

        async def read(pool: _Pool) -> ModelInfo:
            return await pool.engine.ready()

        return self._background.run(read)

    def generate(
        self,
        texts: str | Sequence[str],
        *,
        stop: Sequence[str] = (),
        timeout: float | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> list[Generation]:
        """Generates from each text; greedily unless the parameters say otherwise.

        Args:
            texts: the inputs of the encoder, as they are. A single string counts as one text.
            stop: strings at which a sequence ends.
            timeout: seconds for all texts together; None: as long as it takes.
            parameters: of the generation; at most 64 tokens a sequence unless `max_tokens` is set.

        Raises:
            ValueError, TypeError: a parameter is wrong.
            JobError: always one of its subclasses; DeadlineExceeded if the time is over.
        """
        config = _build_config(parameters)

        async def generate(pool: _Pool, text: str, seconds: float) -> Generation:
            result = await pool.engine.generate(config, text=text, stop=stop, timeout=seconds)
            return Generation(result.generated.outputs, result.generated.prompt_tokens)

        return self._run_each(_as_list(texts), generate, timeout)

    def score(
        self,
        texts: str | Sequence[str],
        targets: str | Sequence[str],
        *,
        timeout: float | None = None,
    ) -> list[Score]:
        """Returns how likely each target is as the answer to the text of the same index.

        Raises:
            ValueError: there are more targets than texts, or fewer.
            JobError: always one of its subclasses.
        """
        pairs = list(zip(_as_list(texts), _as_list(targets), strict=True))

        async def score(pool: _Pool, pair: tuple[str, str], seconds: float) -> Score:
            source, target = [await pool.engine.tokenize(text, timeout=seconds) for text in pair]
            decoder_ids = [self._start_token, *target.ids[:-1]]
            logits = await pool.engine.score(source.ids, decoder_ids, timeout=seconds)
            logprobs = [
                float(log_softmax(row)[token])
                for row, token in zip(logits, target.ids, strict=True)
            ]
            return Score(logprobs, target.texts)

        return self._run_each(pairs, score, timeout)

    def tokenize(self, texts: str | Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each text.

        Raises:
            JobError: always one of its subclasses.
        """

        async def tokenize(pool: _Pool, text: str, seconds: float) -> Tokens:
            tokenized = await pool.engine.tokenize(text, timeout=seconds)
            return Tokens(tokenized.ids, tokenized.texts)

        return self._run_each(_as_list(texts), tokenize, None)

    def _run_each(
        self,
        items: Sequence[Item],
        work: Callable[[_Pool, Item, float], Awaitable[Answer]],
        timeout: float | None,
    ) -> list[Answer]:
        return self._background.run(lambda pool: pool.run_each(items, work, timeout))


class _Pool:
    """An engine, and how many inputs of a call it has at a time."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self.engine = engine
        self._slots = asyncio.Semaphore(slots)
        self._count = slots

    async def run_each(
        self,
        items: Sequence[Item],
        work: Callable[[_Pool, Item, float], Awaitable[Answer]],
        timeout: float | None,  # noqa: ASYNC109 - the items share it
    ) -> list[Answer]:
        """Runs the work for all items, not all at once, and returns the answers in order."""
        deadline = time.monotonic() + (NO_DEADLINE_SECONDS if timeout is None else timeout)

        async def run(_index: int, item: Item) -> Answer:
            return await self._run(work, item, deadline)

        return await map_concurrently(run, items, self._count)

    async def _run(
        self,
        work: Callable[[_Pool, Item, float], Awaitable[Answer]],
        item: Item,
        deadline: float,
    ) -> Answer:
        """Runs the work for an item; waits while a dead worker is replaced."""
        patience = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                async with self._slots:
                    return await work(self, item, max(0.0, deadline - time.monotonic()))
            except QueueFull as error:  # never for lack of room: the slots are fewer
                raise DeadlineExceeded(str(error)) from error
            except EngineNotReady:
                if time.monotonic() > min(deadline, patience):
                    raise
            await asyncio.sleep(RESTART_PAUSE_SECONDS)


@asynccontextmanager
async def _open_engine(path: Path, options: EngineOptions) -> AsyncIterator[_Pool]:
    options = {**options}
    workers = options.pop("workers", 1)
    threads = options.pop("threads", None)
    values: Any = {"max_input_tokens": 512, "prompt_lookup_num_tokens": 3, **options}
    configs = [
        WorkerConfig(str(path), share.threads, list(share.cpus), **values)
        for share in plan(workers, threads)
    ]
    slots = 2 * workers * configs[0].max_batch
    async with Engine(configs, max_queue=slots) as engine:
        yield _Pool(engine, slots)


def _build_config(parameters: GenerationParameters) -> GenerationConfig:
    unknown = parameters.keys() - GenerationParameters.__annotations__.keys()
    if unknown:
        raise TypeError(f"there is no parameter {', '.join(sorted(unknown))}")
    try:
        return msgspec.convert({"max_tokens": DEFAULT_MAX_TOKENS, **parameters}, GenerationConfig)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _as_list(texts: str | Sequence[str]) -> list[str]:
    """Returns the texts as a list; a list of characters is never meant."""
    texts = [texts] if isinstance(texts, str) else list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"texts[{index}] is {type(text).__name__}, not a string")
    return texts
