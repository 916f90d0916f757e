"""Texts, streams and stop strings of every strategy on real files, in this process."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from msgspec.structs import replace
from sentencepiece import sentencepiece_model_pb2

from support import tiny
from support.decoding import EOS, QUERIES, convert, open_model, run_one
from support.drawing import draw_config, draw_input
from support.samples import read_proto
from support.streaming import check_stream, draw_stops
from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Generate
from t5engine.worker.model import Model

FIRST_BYTE = 3  # of the vocabulary that is mostly bytes


@pytest.fixture(scope="session")
def graph(embedded: Path) -> Model:
    return open_model(embedded, "graph")


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A restless model whose vocabulary is mostly bytes."""
    checkpoint = tiny.build("restless", tmp_path_factory.mktemp("bytes"))
    proto = read_proto(checkpoint / "spiece.model")
    piece_type = sentencepiece_model_pb2.ModelProto.SentencePiece
    pieces = list(proto.pieces)
    del proto.pieces[:]
    proto.pieces.extend(pieces[:FIRST_BYTE])
    proto.pieces.extend(
        piece_type(piece=f"<0x{byte:02X}>", type=piece_type.BYTE) for byte in range(256)
    )
    proto.pieces.extend(pieces[FIRST_BYTE:63])
    proto.trainer_spec.byte_fallback = True
    (checkpoint / "spiece.model").write_bytes(proto.SerializeToString())
    return open_model(convert(checkpoint, checkpoint / "x.gguf"), "graph")


@pytest.mark.parametrize("name", ["embedded", "bytes"])
def test_a_stream_adds_up(name: str, graph: Model, byte_model: Model) -> None:
    """Its parts joined are the text and the tokens of the answer, stop strings and all."""
    model = graph if name == "embedded" else byte_model
    chance = random.Random(3)
    for _ in range(40):
        request = Generate(0, draw_config(chance), ids=draw_input(chance, model))
        stops = draw_stops(chance, run_one(model, request).outputs)
        check_stream(model, replace(request, stop=stops))


def test_alternatives_have_the_texts_that_they_would_add(graph: Model) -> None:
    """The chosen token, if it is among them, has its own."""
    config = GenerationConfig(max_tokens=20, top_logprobs=3)
    for query in QUERIES[:10]:
        (output,) = run_one(graph, Generate(0, config, text=query)).outputs
        for token in output.details or []:
            assert token.top[0] == (token.id, token.text, token.logprob)
            assert len(token.top) == 3


def spelled(text: bytes, *, end: bool = False) -> dict[int, float]:
    """Biases that make greedy decoding begin with these bytes, if none may come twice."""
    tokens = [FIRST_BYTE + byte for byte in text] + [EOS] * end
    return {token: 95.0 - 10 * index for index, token in enumerate(tokens)}


@pytest.mark.parametrize(
    ("written", "most", "stop", "text"),
    [
        ("é🥾", 6, [], "é🥾"),
        ("aé🥾", 9, ["é"], "a"),
        ("é🥾z", 9, ["🥾"], "é"),
        ("é🥾z", 9, ["é🥾!", "z"], "é🥾"),
        ("é🥾z", 7, ["🥾z!", "zz"], "é🥾z"),  # what may begin a stop string, and does not
        ("é🥾", 5, [], "é\ufffd"),  # max_tokens cuts a character in two
        ("é🥾", 5, ["é🥾"], "é\ufffd"),
    ],
)
def test_characters_of_several_tokens(
    byte_model: Model, written: str, most: int, stop: list[str], text: str
) -> None:
    """They are streamed once they are whole, and what never is becomes U+FFFD at the end."""
    config = GenerationConfig(
        max_tokens=most,
        logit_bias=spelled(written.encode()),
        presence_penalty=100.0,
        top_logprobs=1,
    )
    request = Generate(0, config, ids=[5, EOS], stop=stop)
    assert run_one(byte_model, request).outputs[0].text == text
    check_stream(byte_model, request)


def test_a_stop_string_at_the_very_beginning(byte_model: Model) -> None:
    """The first piece is a space that no text shows: the stream has sent it by then, or never."""
    config = GenerationConfig(
        max_tokens=9, logit_bias=spelled(b" ab"), presence_penalty=100.0, top_logprobs=0
    )
    request = Generate(0, config, ids=[5, EOS], stop=["a"])
    assert run_one(byte_model, request).outputs[0].text == ""
    check_stream(byte_model, request)


def test_the_end_in_the_middle_of_a_character(byte_model: Model) -> None:
    """The half before `</s>` is U+FFFD, in the stream's tokens as well."""
    config = GenerationConfig(
        max_tokens=9,
        logit_bias=spelled("é".encode()[:1], end=True),
        presence_penalty=100.0,
        top_logprobs=0,
    )
    request = Generate(0, config, ids=[5, EOS])
    assert run_one(byte_model, request).outputs[0].text == "\ufffd"
    check_stream(byte_model, request)
