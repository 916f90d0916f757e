"""Vocabularies that T5's own has not the features of, in the engine, against SentencePiece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from support import taught, tiny
from support.parity import with_model
from support.samples import read_proto
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import InputTooLong, InvalidInput
from t5engine.messages import Cut
from t5engine.pool.engine import Engine
from t5gguf.convert import Converter
from t5gguf.writer import Provenance

PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece
CONFIG = tiny.FLAVOURS["tied_relu"] | {"vocab_size": 400}


def add_bytes(proto: Any) -> None:
    """Byte fallback, as mT5, UMT5 and vocabularies of one's own have it."""
    proto.trainer_spec.byte_fallback = True
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=PIECE.BYTE)


def add_symbols(proto: Any) -> None:
    """User-defined pieces, as MADLAD's languages are."""
    for text in ("<2de>", "<2fr>", "<br>", "~"):
        proto.pieces.add(piece=text, score=0.0, type=PIECE.USER_DEFINED)


def add_both(proto: Any) -> None:
    add_bytes(proto)
    add_symbols(proto)


def drop_prefix(proto: Any) -> None:
    proto.normalizer_spec.add_dummy_prefix = False


def keep_spaces(proto: Any) -> None:
    proto.normalizer_spec.remove_extra_whitespaces = False


TEXTS = [
    "how big is paris?",
    "\u4eca\u5929 how",
    "red\u0f00\u0f01blue \U0001f355",
    "x ^ y `z` \\ { < }",
    "<2de> how big is paris?",
    "<2de>how big",
    "how <2fr> big<br>is<br> paris",
    "a~b ~ c~",
    "  two   cars ",
    "caf\u00e9",
    "",
    " ",
]


def convert(directory: Path, change: Callable[[Any], None]) -> tuple[Path, Path]:
    """Converts a checkpoint with a changed vocabulary; returns the GGUF file, the vocabulary."""
    checkpoint = tiny.build_config(CONFIG, directory / "checkpoint")
    path = checkpoint / "spiece.model"
    taught.write_spiece(path)
    proto = read_proto(path)
    change(proto)
    path.write_bytes(proto.SerializeToString())
    converter = Converter(checkpoint, Provenance("x"), ["how big is paris?"])
    return converter.convert(directory / "x.gguf", "F32", progress=False).path, path


@pytest.mark.parametrize("change", [add_bytes, add_symbols, add_both, drop_prefix, keep_spaces])
def test_token_ids_are_sentencepiece_s(tmp_path: Path, change: Any) -> None:
    """Byte fallback, user-defined pieces and a model's treatment of spaces are SentencePiece's."""
    file, path = convert(tmp_path, change)
    reference = SentencePieceProcessor(str(path))

    async def use(engine: Engine) -> list[list[int]]:
        return [(await engine.tokenize(text)).ids for text in TEXTS]

    assert with_model(file, use) == [[*reference.encode(text), 1] for text in TEXTS]


def change_nothing(_proto: Any) -> None:
    """Leaves the vocabulary as it is."""


@pytest.mark.parametrize("change", [change_nothing, add_both, drop_prefix, keep_spaces])
def test_long_inputs_are_cut_in_the_worker(tmp_path: Path, change: Any) -> None:
    """With any vocabulary the input fills the model's room, and refusals say what is too long."""
    file, _ = convert(tmp_path, change)
    document = "how big is paris? <br> red\u0f00blue caf\u00e9 \ufb01ne " * 2000
    before, after = "question: ", " answer:"
    config = GenerationConfig(max_tokens=2)
    cuts = [Cut(10, 10 + len(document), "left"), Cut(10, 10 + len(document), "right")]

    async def use(engine: Engine) -> list[int]:
        results = [
            await engine.generate(config, text=before + document + after, cut=cut, timeout=60)
            for cut in cuts
        ]
        for text in (before * 400 + document, document):
            with pytest.raises(InputTooLong, match=r"at most"):
                await engine.generate(
                    config, text=text, cut=Cut(len(text), len(text), "left"), timeout=60
                )
        with pytest.raises(InvalidInput, match="the cut is from 3 to 9"):
            await engine.generate(config, text="how big", cut=Cut(3, 9, "left"), timeout=60)
        return [result.generated.prompt_tokens for result in results]

    counts = with_model(file, use)
    assert all(505 <= tokens <= 512 for tokens in counts), counts
