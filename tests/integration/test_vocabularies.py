"""Vocabularies that T5's own has not the features of, in the engine, against SentencePiece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from support import taught, tiny
from support.parity import with_model
from support.samples import read_proto
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


@pytest.mark.parametrize("change", [add_bytes, add_symbols, add_both, drop_prefix, keep_spaces])
def test_token_ids_are_sentencepiece_s(tmp_path: Path, change: Any) -> None:
    """Byte fallback, user-defined pieces and a model's treatment of spaces are SentencePiece's."""
    directory = tiny.build_config(CONFIG, tmp_path / "checkpoint")
    path = directory / "spiece.model"
    taught.write_spiece(path)
    proto = read_proto(path)
    change(proto)
    path.write_bytes(proto.SerializeToString())
    converter = Converter(directory, Provenance("x"), ["how big is paris?"])
    file = converter.convert(tmp_path / "x.gguf", "F32", progress=False).path
    reference = SentencePieceProcessor(str(path))

    async def use(engine: Engine) -> list[list[int]]:
        return [(await engine.tokenize(text)).ids for text in TEXTS]

    assert with_model(file, use) == [[*reference.encode(text), 1] for text in TEXTS]
