"""What the service and its worker processes say to each other: MessagePack, length-prefixed."""

from __future__ import annotations

import struct
from typing import Literal

import msgspec

from t5engine.decoding.parameters import GenerationConfig

HEADER = struct.Struct("<I")


class Generate(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: decode one input. Exactly one of text and ids is given.

    `stop` has strings at which a sequence ends, itself left out; with `stream`, text comes in
    Progress messages as it is settled.
    """

    job: int
    config: GenerationConfig
    text: str | None = None
    ids: list[int] | None = None
    stop: list[str] = []
    stream: bool = False


class Score(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: the logits after each of the given decoder inputs."""

    job: int
    encoder_ids: list[int]
    decoder_ids: list[int]


class Tokenize(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: the token ids of a text, with `</s>`; or the texts of given ids."""

    job: int
    text: str | None = None
    ids: list[int] | None = None


class Cancel(msgspec.Struct, tag=True, frozen=True):
    """Service to worker: nobody waits for this job any more; answered with Cancelled."""

    job: int


class ModelInfo(msgspec.Struct, frozen=True):
    """What a worker knows of the file it loaded; `metadata` has the file's t5serve.* keys."""

    name: str
    description: str
    n_vocab: int
    max_input_tokens: int
    max_tokens: int
    metadata: dict[str, str]


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the model is loaded and has decoded once."""

    model: ModelInfo
    threads: int
    sequences: int
    """That are to be decoded at once; one job may have more."""
    inputs: int
    """That they may be over."""
    features: list[str] = []
    """Of the processor, by ggml's names, that its kernels were compiled for."""


class Unloadable(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: this model will never load; the worker ends."""

    message: str


class Timings(msgspec.Struct, frozen=True):
    """Milliseconds that a job spent in the worker."""

    tokenize: float
    encode: float
    decode: float
    total: float = 0.0
    """From the input to its outcome: also choosing tokens, and waiting for the steps of others."""


class Token(msgspec.Struct, frozen=True, array_like=True):
    """A decoded token: the texts of a sequence's tokens, joined, are its text.

    `top` has the most probable tokens in its place, each as id, text, log-probability.
    """

    id: int
    text: str
    logprob: float
    top: list[tuple[int, str, float]]


class Output(msgspec.Struct, frozen=True):
    """One sequence.

    Attributes:
        text: without the stop string that ended it, and what came after that.
        tokens: ids without `</s>`.
        logprob: sum of the natural logs of the probabilities of all tokens that were decoded,
            `</s>` included, and `decoded` counts those.
        score: what the search ranked it by.
        details: its tokens, if log-probabilities were asked for.
    """

    text: str
    tokens: list[int]
    logprob: float
    decoded: int
    score: float
    finish_reason: Literal["stop", "length"]
    details: list[Token] | None = None


class Progress(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: more settled text of one of a job's sequences."""

    job: int
    index: int
    text: str
    details: list[Token] | None = None


class Generated(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: a finished job, its best sequence first."""

    job: int
    outputs: list[Output]
    prompt_tokens: int
    timings: Timings
    batch: int
    """Most sequences that were decoded in one step with this job's."""
    drafted: int = 0
    """Tokens that were looked up in the input and verified; and how many of them were right."""
    drafts_kept: int = 0

    @property
    def completion_tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(len(output.tokens) for output in self.outputs)

    @property
    def best(self) -> Output:
        """The first sequence; there is always one."""
        return self.outputs[0]


class Scored(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: little-endian F32 logits, row-major, n_vocab a row."""

    job: int
    logits: bytes


class Tokenized(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: token ids, and the text of each; joined, that of all."""

    job: int
    ids: list[int]
    texts: list[str]


class Refused(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: this job's input can't be decoded; `too_long` says why it can't."""

    job: int
    message: str
    too_long: bool = False


class Failed(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: this job failed inside; the worker goes on."""

    job: int
    message: str


class Cancelled(msgspec.Struct, tag=True, frozen=True):
    """Worker to service: the job is over, whether it was cut short or had ended already."""

    job: int


ToWorker = Generate | Score | Tokenize | Cancel
JobMessage = Generate | Score | Tokenize
Outcome = Generated | Scored | Tokenized | Refused | Failed
FromWorker = Ready | Unloadable | Progress | Outcome | Cancelled

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def pack(message: ToWorker | FromWorker) -> bytes:
    """A frame: four bytes of length, then the message."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def unpack_to_worker(body: bytes) -> ToWorker:
    """Reads a frame's body on the worker's side."""
    return _to_worker.decode(body)


def unpack_from_worker(body: bytes) -> FromWorker:
    """Reads a frame's body on the service's side."""
    return _from_worker.decode(body)
