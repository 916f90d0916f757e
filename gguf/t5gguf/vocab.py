"""A T5 vocabulary: SentencePiece Unigram pieces, and what GGUF has to say about each id."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from gguf import TokenType
from google.protobuf.message import DecodeError
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from t5gguf.checkpoint import Config, sha256
from t5gguf.errors import ConversionError

SPIECE_FILES = ("spiece.model", "tokenizer.model")
SENTINEL = re.compile(r"▁?<extra_id_\d+>")
SENTINELS = 100  # T5Tokenizer's default for `extra_ids`
# Hugging Face gives an added token no score; llama.cpp's converter writes these two.
ADDED_SCORE, UNUSED_SCORE = -1000.0, -10000.0
PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece
TOKEN_TYPES = {
    PIECE.NORMAL: TokenType.NORMAL,
    PIECE.UNKNOWN: TokenType.UNKNOWN,
    PIECE.CONTROL: TokenType.CONTROL,
    PIECE.USER_DEFINED: TokenType.USER_DEFINED,
    PIECE.UNUSED: TokenType.UNUSED,
    PIECE.BYTE: TokenType.BYTE,
}


@dataclass(frozen=True)
class Trimming:
    """What a vocabulary was before most of its rows were left out."""

    ids: tuple[int, ...]
    """The id in the source of each token that stayed, ascending."""
    rows: int
    """Of the source's embedding."""
    sha256: str
    """Of the text that decided what stays."""


@dataclass(frozen=True)
class Vocabulary:
    """One text, score and type per id, as many as the file's embedding has rows."""

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[TokenType, ...]
    precompiled_charsmap: bytes
    add_space_prefix: bool
    remove_extra_whitespaces: bool
    eos_token_id: int
    unk_token_id: int
    source: Path
    _processor: SentencePieceProcessor
    trimming: Trimming | None = None

    def encode(self, text: str) -> list[int]:
        """Token ids of a text by SentencePiece itself, with the closing `</s>`.

        Added tokens in the text are cut out first, as Hugging Face's slow tokenizer does.
        """
        added = self._added
        longest_first = sorted(added, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text) if added else [text]
        ids: list[int] = []
        for part in parts:
            ids += [added[part]] if part in added else self._processor.encode(part)
        return [*ids, self.eos_token_id]

    @cached_property
    def _added(self) -> dict[str, int]:
        """The added tokens' ids by their texts."""
        return {
            name: index
            for index, (name, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind is TokenType.USER_DEFINED
        }

    def suppressed(self, rows: int) -> list[int]:
        """The ids below rows that never come out: all but `</s>` that do not stand for text."""
        text = (TokenType.NORMAL, TokenType.BYTE)
        return [
            index
            for index in range(rows)
            if index != self.eos_token_id
            and (self.types[index] not in text or SENTINEL.fullmatch(self.tokens[index]))
        ]

    @classmethod
    def load(cls, directory: Path, config: Config, rows: int) -> Self:
        """Reads the vocabulary of a checkpoint directory.

        Args:
            directory: has spiece.model or tokenizer.model, else a Unigram tokenizer.json.
            config: gives the vocabulary's size and the special ids.
            rows: ids to describe; those past the vocabulary become unused tokens.

        Raises:
            ConversionError: no such file, another kind of tokenizer, more pieces than the model
                has, or one text for two ids.
        """
        source, proto = _read_proto(directory)
        pieces = len(proto.pieces)
        if pieces > config.vocab_size:
            raise ConversionError(f"{source}: {pieces} pieces, vocab_size is {config.vocab_size}")
        tokens = [piece.piece for piece in proto.pieces]
        scores = [piece.score for piece in proto.pieces]
        types = [TOKEN_TYPES[piece.type] for piece in proto.pieces]
        _pad(tokens, scores, types, rows)
        for index, name in _added_tokens(directory, tokens[:pieces], config.vocab_size):
            tokens[index] = name
            scores[index] = ADDED_SCORE
            types[index] = TokenType.USER_DEFINED
        for index in (config.pad_token_id, config.eos_token_id):
            types[index] = TokenType.CONTROL
        _check(source, tokens, types)
        return cls(
            tokens=tuple(tokens),
            scores=tuple(scores),
            types=tuple(types),
            precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
            add_space_prefix=proto.normalizer_spec.add_dummy_prefix,
            remove_extra_whitespaces=proto.normalizer_spec.remove_extra_whitespaces,
            eos_token_id=config.eos_token_id,
            unk_token_id=types.index(TokenType.UNKNOWN),
            source=source,
            _processor=_processor(source, proto),
        )

    def trimmed(self, trimming: Trimming, rows: int) -> Self:
        """The vocabulary of the ids that stay, in their order, described up to rows."""
        whole = sentencepiece_model_pb2.ModelProto()
        whole.ParseFromString(self._processor.serialized_model_proto())
        proto = sentencepiece_model_pb2.ModelProto()
        proto.CopyFrom(whole)
        del proto.pieces[:]
        pieces = len(whole.pieces)  # the added tokens come after them
        proto.pieces.extend(whole.pieces[index] for index in trimming.ids if index < pieces)
        tokens = [self.tokens[index] for index in trimming.ids]
        scores = [self.scores[index] for index in trimming.ids]
        types = [self.types[index] for index in trimming.ids]
        _pad(tokens, scores, types, rows)
        return replace(
            self,
            tokens=tuple(tokens),
            scores=tuple(scores),
            types=tuple(types),
            eos_token_id=trimming.ids.index(self.eos_token_id),
            unk_token_id=trimming.ids.index(self.unk_token_id),
            _processor=_processor(self.source, proto),
            trimming=trimming,
        )

    def sha256(self) -> dict[str, str]:
        """Hash of the vocabulary's file by its name."""
        return {self.source.name: sha256(self.source)}


def _pad(tokens: list[str], scores: list[float], types: list[TokenType], rows: int) -> None:
    """Unused tokens, named by their ids, up to so many rows."""
    for index in range(len(tokens), rows):
        tokens.append(f"[PAD{index}]")
        scores.append(UNUSED_SCORE)
        types.append(TokenType.UNUSED)


def _check(source: Path, tokens: list[str], types: list[TokenType]) -> None:
    """llama.cpp aborts on a text that stands for two ids."""
    twice = [repr(text) for text, count in Counter(tokens).items() if count > 1]
    if twice:
        raise ConversionError(f"{source}: one text for several ids: {', '.join(twice)}")
    if TokenType.UNKNOWN not in types:
        raise ConversionError(f"{source}: no piece is the unknown token")


def _processor(source: Path, proto: Any) -> SentencePieceProcessor:  # noqa: ANN401 - as below
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(proto.SerializeToString())
    except RuntimeError as error:
        raise ConversionError(f"{source}: SentencePiece refuses it: {error}") from error
    return processor


def _read_proto(directory: Path) -> tuple[Path, Any]:
    """The vocabulary as SentencePiece's own message, whichever file it stands in."""
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
        raise ConversionError(f"{path} is not a Unigram model, the kind that T5 has")
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise ConversionError(f"{path} writes whitespace as a suffix; T5 has it as a prefix")
    return proto


def _parse_tokenizer_json(path: Path) -> Any:  # noqa: ANN401 - as above
    """A SentencePiece message with the pieces and the character map of a `tokenizers` file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        model = raw["model"]
        if model.get("type", "Unigram") != "Unigram":
            raise TypeError(f"its model is {model['type']}")  # noqa: TRY301 - told below
        special = {token["content"] for token in raw.get("added_tokens", []) if token["special"]}
        proto = sentencepiece_model_pb2.ModelProto()
        for index, (text, score) in enumerate(model["vocab"]):
            kind = PIECE.NORMAL
            if index == model["unk_id"]:
                kind = PIECE.UNKNOWN
            elif SENTINEL.fullmatch(text):
                kind, score = PIECE.USER_DEFINED, ADDED_SCORE  # noqa: PLW2901 - spiece's own
            elif text in special:
                kind = PIECE.CONTROL
            proto.pieces.add(piece=text, score=score, type=kind)
        charsmap = next(_charsmaps(raw.get("normalizer")), "")
        proto.normalizer_spec.precompiled_charsmap = base64.b64decode(charsmap, validate=True)
        proto.trainer_spec.unk_id = model["unk_id"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise ConversionError(f"{path} is not a Unigram tokenizer: {error!r}") from error
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    proto.trainer_spec.bos_id = -1
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = True
    return proto


def _charsmaps(normalizer: dict[str, Any] | None) -> Iterator[str]:
    """Every Precompiled step of a `tokenizers` normalizer, sequences included."""
    if normalizer is None:
        return
    if normalizer.get("type") == "Precompiled":
        yield normalizer["precompiled_charsmap"]
    for step in normalizer.get("normalizers", []):
        yield from _charsmaps(step)


def _added_tokens(directory: Path, pieces: list[str], vocab_size: int) -> Iterator[tuple[int, str]]:
    """Ids and names of tokens beyond the pieces: as the directory says, else T5's sentinels.

    A checkpoint without the files that name them still has them: T5Tokenizer counts
    `<extra_id_99>` .. `<extra_id_0>` up from the last piece wherever the model has room.
    """
    config = _optional_json(directory / "tokenizer_config.json")
    added = _optional_json(directory / "added_tokens.json")
    try:
        decoder = config.get("added_tokens_decoder") or {}
        named = {int(index): str(token["content"]) for index, token in decoder.items()}
        named |= {int(index): str(name) for name, index in added.items()}
        sentinels = int(SENTINELS if config.get("extra_ids") is None else config["extra_ids"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{directory}: tokenizer_config.json or added_tokens.json is malformed: {error!r}"
        ) from error
    first = len(pieces)
    told = any(SENTINEL.fullmatch(name) for name in (*pieces, *named.values()))
    if not told and first + sentinels <= vocab_size:
        for offset in range(sentinels):
            named.setdefault(first + offset, f"<extra_id_{sentinels - 1 - offset}>")
    for index, name in sorted(named.items()):
        if first <= index < vocab_size:
            yield index, name


def _optional_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{path}: {error}") from error
    return raw if isinstance(raw, dict) else {}
