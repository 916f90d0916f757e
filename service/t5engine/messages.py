"""Messages between the service and its worker processes; frames.py encodes them."""

from __future__ import annotations

from typing import Literal

import msgspec

from t5engine.decoding.parameters import GenerationConfig

PULSE_SECONDS = 0.5  # a worker sends a message at least as often, unless it computes
SPARE_ROWS = 4  # a narrow job of another request gets one while a request fills the batch
JUDGED_TOGETHER = 4  # inputs of Judge per decoder step; more gain less than 2 % of an input's time


class Cut(msgspec.Struct, frozen=True):
    """A range of a text. If the text has too many tokens, the range is shortened.

    Attributes:
        start: where the range begins, in characters.
        end: where the range ends.
        side: the side of the range that loses text.
        breaks: where in the range a cut is better than elsewhere, such as between two turns.
    """

    start: int
    end: int
    side: Literal["left", "right"]
    breaks: list[int] = []


class Generate(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: decode one input, either `text` or `ids`.

    Attributes:
        job: number of the job, which all messages about the job carry.
        stop: strings at which a sequence ends; the text does not include the string.
        stream: whether to send settled text in Progress messages.
        turn: number of the request that the job belongs to; requests take turns.
        cut: the range of `text` that is shortened if it is too long; None: it is refused.
    """

    job: int
    config: GenerationConfig
    text: str | None = None
    ids: list[int] | None = None
    stop: list[str] = []
    stream: bool = False
    turn: int = 0
    cut: Cut | None = None


class Score(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: return the logits after each of the decoder inputs."""

    job: int
    encoder_ids: list[int]
    decoder_ids: list[int]


class Judge(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: return the first step's logits of two tokens, as a reranker needs them.

    Attributes:
        positive: the piece of the first token, as the vocabulary has it, or its id.
        negative: the same of the second token.
        cut: the part of the text that may be shortened; None: a text that is too long is refused.
        turn: number of the request that the job belongs to; requests take turns.
    """

    job: int
    text: str
    positive: int | str
    negative: int | str
    cut: Cut | None = None
    turn: int = 0


class Tokenize(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: tokenise `text`, with `</s>` at the end, or return the texts of `ids`."""

    job: int
    text: str | None = None
    ids: list[int] | None = None


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: stop this job. The worker answers with Cancelled."""

    job: int


class ModelInfo(msgspec.Struct, frozen=True):
    """Facts about the loaded model file.

    Attributes:
        metadata: the file's keys that begin with `t5serve.`, with their values.
    """

    name: str
    description: str
    n_vocab: int
    max_input_tokens: int
    max_tokens: int
    metadata: dict[str, str]


class Costs(msgspec.Struct, frozen=True):
    """What a worker's operations cost, in seconds, as measured lately.

    Attributes:
        encodes: (tokens of the input, seconds), ordered by tokens.
        steps: (rows, seconds), ordered by rows; choosing the tokens is included.
    """

    encodes: list[tuple[int, float]] = []
    steps: list[tuple[int, float]] = []


class Pulse(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the worker is alive. Sent every PULSE_SECONDS, between steps."""

    costs: Costs = Costs()


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the model is loaded, and has decoded once.

    Attributes:
        max_sequences: maximum concurrent sequences; a single job may have more.
        max_inputs: maximum concurrent jobs, each with one encoder input.
        features: processor features that the kernels were compiled for, by ggml's names.
        rows: sequences that the backend takes in all; 0: `max_sequences`.
        threads: number of threads that the worker uses from now on.
        step_seconds: the seconds of a step of one sequence, by the number of threads; empty: it
            was not measured.
    """

    model: ModelInfo
    threads: int
    max_sequences: int
    max_inputs: int
    features: list[str] = []
    costs: Costs = Costs()
    rows: int = 0
    step_seconds: dict[int, float] = {}


class Unloadable(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the model can't be loaded. The worker exits."""

    message: str


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds that a job spent in the worker.

    Attributes:
        total: from the input to its outcome. Includes choosing tokens, and waiting for the steps
            of other jobs.
    """

    tokenize: float
    encode: float
    decode: float
    total: float = 0.0

    def __add__(self, other: Timings) -> Timings:
        """Returns the times of two jobs, one after the other."""
        return Timings(
            self.tokenize + other.tokenize,
            self.encode + other.encode,
            self.decode + other.decode,
            self.total + other.total,
        )


class Token(msgspec.Struct, frozen=True, array_like=True):
    """A decoded token. The texts of a sequence's tokens, joined, are the sequence's text.

    Attributes:
        logprob: natural log of the token's probability.
        top: the most probable tokens at this position, as (id, text, log-probability).
    """

    id: int
    text: str
    logprob: float
    top: list[tuple[int, str, float]]


class Output(msgspec.Struct, frozen=True, array_like=True):
    """A finished sequence.

    Attributes:
        text: up to the stop string that ended the sequence, which is left out.
        tokens: ids without `</s>`.
        logprob: sum of the natural logs of the probabilities of all decoded tokens, including
            `</s>`.
        decoded: number of decoded tokens, including `</s>`.
        score: the search's ranking criterion.
        details: the tokens, if log-probabilities were requested.
    """

    text: str
    tokens: list[int]
    logprob: float
    decoded: int
    score: float
    finish_reason: Literal["stop", "length"]
    details: list[Token] | None = None


class Progress(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: more settled text of the job's sequence `index`."""

    job: int
    index: int
    text: str
    details: list[Token] | None = None


class Generated(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the job is finished.

    Attributes:
        outputs: the sequences, best first.
        prompt_tokens: number of the encoder's input ids.
        batch: largest number of sequences, of all jobs, in one of the job's steps.
        drafted: number of draft tokens that were looked up in the input and verified.
        drafts_kept: number of draft tokens that the search accepted.
    """

    job: int
    outputs: list[Output]
    prompt_tokens: int
    timings: Timings
    batch: int
    drafted: int = 0
    drafts_kept: int = 0

    @property
    def completion_tokens(self) -> int:
        """Number of tokens of all sequences, without `</s>`."""
        return sum(len(output.tokens) for output in self.outputs)

    @property
    def best(self) -> Output:
        """The best sequence; a finished job has at least one."""
        return self.outputs[0]


class Scored(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: little-endian F32 logits, row-major, (decoder inputs, n_vocab)."""

    job: int
    logits: bytes


class Judged(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the logits of the two tokens at the first step.

    Attributes:
        prompt_tokens: number of the encoder's input ids, after shortening.
        batch: number of inputs in the job's step.
    """

    job: int
    positive_logit: float
    negative_logit: float
    prompt_tokens: int
    timings: Timings
    batch: int


class Tokenized(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: token ids and the text of each id. The texts, joined, are the text."""

    job: int
    ids: list[int]
    texts: list[str]


class Refused(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the job's input can't be decoded.

    Attributes:
        too_long: whether the reason is that the input has too many tokens.
    """

    job: int
    message: str
    too_long: bool = False


class Failed(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the job failed with an internal error. The worker continues."""

    job: int
    message: str


class Cancelled(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: answers Cancel, whether or not the job had already ended."""

    job: int


ToWorker = Generate | Judge | Score | Tokenize | Cancel
JobMessage = Generate | Judge | Score | Tokenize
Outcome = Generated | Judged | Scored | Tokenized | Refused | Failed
FromWorker = Ready | Unloadable | Pulse | Progress | Outcome | Cancelled
