"""The files of a T5 tokenizer: spiece.model or tokenizer.json, and those of added tokens."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from t5gguf.errors import ConversionError

SPIECE_FILES = ("spiece.model", "tokenizer.model")
SENTINEL = re.compile(r"▁?<extra_id_\d+>")
SENTINELS = 100  # T5Tokenizer's default for `extra_ids`
ADDED_SCORE = -1000.0  # llama.cpp's converter's score of an added token; Hugging Face has none
PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece


def read_proto(directory: Path) -> tuple[Path, Any]:
    """Reads a vocabulary as a SentencePiece message; returns the file's path and the message.

    Raises:
        ConversionError: the directory has no vocabulary, or one that is not of T5's type.
    """
    for name in SPIECE_FILES:
        if (directory / name).is_file():
            return directory / name, _parse_spiece(directory / name)
    path = directory / "tokenizer.json"
    if path.is_file():
        return path, _parse_tokenizer_json(path)
    raise ConversionError(f"{directory} has none of {', '.join(SPIECE_FILES)}, tokenizer.json")


def _parse_spiece(path: Path) -> Any:  # noqa: ANN401 - the message's class is made at run time
    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ConversionError(f"{path} is not a SentencePiece model: {error}") from error
    if proto.trainer_spec.model_type != sentencepiece_model_pb2.TrainerSpec.UNIGRAM:
        raise ConversionError(f"{path} is not a Unigram model, but T5's tokenizer is one")
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise ConversionError(f"{path} writes whitespace as a suffix; T5 has it as a prefix")
    return proto


def _parse_tokenizer_json(path: Path) -> Any:  # noqa: ANN401 - as above
    """Returns a SentencePiece message with the pieces and the character map of the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        model = raw["model"]
        if model.get("type", "Unigram") != "Unigram":
            raise TypeError(f"its model is {model['type']}")  # noqa: TRY301 - caught below
        special = {token["content"] for token in raw.get("added_tokens", []) if token["special"]}
        proto = sentencepiece_model_pb2.ModelProto()
        for index, (text, score) in enumerate(model["vocab"]):
            piece_type = PIECE.NORMAL
            if index == model["unk_id"]:
                piece_type = PIECE.UNKNOWN
            elif SENTINEL.fullmatch(text):
                # The score that spiece.model has.
                piece_type, score = PIECE.USER_DEFINED, ADDED_SCORE  # noqa: PLW2901
            elif text in special:
                piece_type = PIECE.CONTROL
            proto.pieces.add(piece=text, score=score, type=piece_type)
        charsmap = next(_find_charsmaps(raw.get("normalizer")), "")
        proto.normalizer_spec.precompiled_charsmap = base64.b64decode(charsmap, validate=True)
        proto.trainer_spec.unk_id = model["unk_id"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise ConversionError(f"{path} is not a Unigram tokenizer: {error!r}") from error
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    proto.trainer_spec.bos_id = -1
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = True
    return proto


def _find_charsmaps(normalizer: dict[str, Any] | None) -> Iterator[str]:
    """Yields the character map of each Precompiled step of a normalizer, sequences included."""
    if normalizer is None:
        return
    if normalizer.get("type") == "Precompiled":
        yield normalizer["precompiled_charsmap"]
    for step in normalizer.get("normalizers", []):
        yield from _find_charsmaps(step)


def read_added_tokens(
    directory: Path, pieces: list[str], vocab_size: int
) -> Iterator[tuple[int, str]]:
    """Yields ids and texts of the tokens after the pieces.

    The texts are those of the directory's files. A checkpoint without such files still has T5's
    sentinels: T5Tokenizer numbers `<extra_id_99>` .. `<extra_id_0>` upwards from the last piece
    if the model has rows for them.

    Raises:
        ConversionError: tokenizer_config.json or added_tokens.json is malformed.
    """
    config = _read_optional_json(directory / "tokenizer_config.json")
    added_tokens = _read_optional_json(directory / "added_tokens.json")
    try:
        decoder = config.get("added_tokens_decoder") or {}
        texts = {int(index): str(token["content"]) for index, token in decoder.items()}
        texts |= {int(index): str(text) for text, index in added_tokens.items()}
        sentinels = int(SENTINELS if config.get("extra_ids") is None else config["extra_ids"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{directory}: tokenizer_config.json or added_tokens.json is malformed: {error!r}"
        ) from error
    first = len(pieces)
    has_sentinels = any(SENTINEL.fullmatch(text) for text in (*pieces, *texts.values()))
    if not has_sentinels and first + sentinels <= vocab_size:
        for offset in range(sentinels):
            texts.setdefault(first + offset, f"<extra_id_{sentinels - 1 - offset}>")
    for index, text in sorted(texts.items()):
        if first <= index < vocab_size:
            yield index, text


def _read_optional_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{path}: {error}") from error
    return raw if isinstance(raw, dict) else {}
