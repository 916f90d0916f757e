"""T5: a model in this process's hands, without a service.

with T5("model.gguf") as t5:
    (generation,) = t5.generate("translate English to German: a house")
    print(generation.text)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypedDict, TypeVar, Unpack

import msgspec

from t5engine.background import Background
from t5engine.decoding.logprobs import log_softmax
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import InvalidInput, ModelLoadError
from t5engine.header import HeaderError, open_checked
from t5engine.messages import ModelInfo, Output
from t5engine.relevance import Relevance, compute_relevance, read_relevance
from t5engine.session import EngineOptions, Session, open_session

Item = TypeVar("Item")
Answer = TypeVar("Answer")

DEFAULT_MAX_TOKENS = 64


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
class RankedDocument:
    """A document of `T5.rank`.

    Attributes:
        index: its index in the documents.
        score: the probability that it is relevant.
    """

    index: int
    score: float


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
        self._relevance = read_relevance(metadata)
        self._background = Background(lambda: open_session(Path(path), options))
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

        async def read(session: Session) -> ModelInfo:
            return await session.engine.ready()

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

        async def generate(session: Session, text: str, seconds: float) -> Generation:
            result = await session.engine.generate(config, text=text, stop=stop, timeout=seconds)
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

        async def score(session: Session, pair: tuple[str, str], seconds: float) -> Score:
            source, target = [await session.engine.tokenize(text, timeout=seconds) for text in pair]
            decoder_ids = [self._start_token, *target.ids[:-1]]
            logits = await session.engine.score(source.ids, decoder_ids, timeout=seconds)
            logprobs = [
                float(log_softmax(row)[token])
                for row, token in zip(logits, target.ids, strict=True)
            ]
            return Score(logprobs, target.texts)

        return self._run_each(pairs, score, timeout)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_k: int | None = None,
        relevance: Relevance | None = None,
        timeout: float | None = None,
    ) -> list[RankedDocument]:
        """Returns the documents that are the most relevant for a query, best first.

        Args:
            query: the query.
            documents: the documents; the end of one that is too long is left out.
            top_k: the most documents to return; None: all.
            relevance: the template and the two tokens; None: those that the file names.
            timeout: seconds for all documents together; None: as long as it takes.

        Raises:
            InvalidInput: the file does not say how the model reranks, or a text is no string.
            JobError: always one of its subclasses; InputTooLong if the query alone is too long.
        """
        relevance = relevance or self._relevance
        if relevance is None:
            raise InvalidInput("the file does not say how its model reranks; give a Relevance")
        given: Relevance = relevance
        texts = _as_list(documents)

        async def judge(session: Session, text: str, seconds: float) -> float:
            prompt, cut = session.engine.limits.trim(*given.render(query, text))
            judged = await session.engine.judging.judge(
                prompt, given.positive, given.negative, cut=cut, timeout=seconds
            )
            return compute_relevance(judged.positive_logit, judged.negative_logit)

        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # alike together
        scores = self._run_each([texts[index] for index in order], judge, timeout)
        ranked = [RankedDocument(*pair) for pair in sorted(zip(order, scores, strict=True))]
        return sorted(ranked, key=lambda document: -document.score)[:top_k]

    def tokenize(self, texts: str | Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each text.

        Raises:
            JobError: always one of its subclasses.
        """

        async def tokenize(session: Session, text: str, seconds: float) -> Tokens:
            tokenized = await session.engine.tokenize(text, timeout=seconds)
            return Tokens(tokenized.ids, tokenized.texts)

        return self._run_each(_as_list(texts), tokenize, None)

    def _run_each(
        self,
        items: Sequence[Item],
        work: Callable[[Session, Item, float], Awaitable[Answer]],
        timeout: float | None,
    ) -> list[Answer]:
        return self._background.run(lambda session: session.run_each(items, work, timeout))


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
