"""A T5 vocabulary: SentencePiece Unigram pieces, and the text, score and type of each id."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from gguf import TokenType
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from t5gguf.config import Config
from t5gguf.errors import ConversionError
from t5gguf.hashing import hash_file
from t5gguf.tokenizer_files import ADDED_SCORE, PIECE, SENTINEL, read_added_tokens, read_proto

UNUSED_SCORE = -10000.0  # llama.cpp's converter's score of an unused row
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
    """The rows of a vocabulary that stayed when most of them were left out.

    Attributes:
        kept_ids: the ids in the whole vocabulary of the tokens that stayed, ascending.
        source_rows: the number of rows of the whole model's embedding.
        text_sha256: the SHA-256 of the text that decided which tokens stay.
    """

    kept_ids: tuple[int, ...]
    source_rows: int
    text_sha256: str


@dataclass(frozen=True)
class Vocabulary:
    """One text, score and type per id, for as many ids as the file's embedding has rows."""

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    token_types: tuple[TokenType, ...]
    precompiled_charsmap: bytes
    add_space_prefix: bool
    remove_extra_whitespaces: bool
    eos_token_id: int
    unk_token_id: int
    source: Path
    _processor: SentencePieceProcessor
    trimming: Trimming | None = None

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text by SentencePiece itself, with the closing `</s>`.

        Added tokens in the text are cut out first, as in Hugging Face's slow tokenizer.
        """
        added = self._added_ids
        longest_first = sorted(added, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text) if added else [text]
        ids: list[int] = []
        for part in parts:
            ids += [added[part]] if part in added else self._processor.encode(part)
        return [*ids, self.eos_token_id]

    @cached_property
    def _added_ids(self) -> dict[str, int]:
        """The ids of the added tokens, by their texts."""
        return {
            token: index
            for index, (token, token_type) in enumerate(
                zip(self.tokens, self.token_types, strict=True)
            )
            if token_type is TokenType.USER_DEFINED
        }

    def select_suppressed_ids(self, rows: int) -> list[int]:
        """Returns the ids below `rows` that generation must not emit.

        These are the ids that stand for no text, except `</s>`.
        """
        text_types = (TokenType.NORMAL, TokenType.BYTE)
        return [
            index
            for index in range(rows)
            if index != self.eos_token_id
            and (
                self.token_types[index] not in text_types or SENTINEL.fullmatch(self.tokens[index])
            )
        ]

    @classmethod
    def load(cls, directory: Path, config: Config, rows: int) -> Self:
        """Reads the vocabulary of a checkpoint directory.

        Args:
            directory: has spiece.model or tokenizer.model, or else a Unigram tokenizer.json.
            config: gives the vocabulary's size and the special ids.
            rows: the number of ids; ids after the vocabulary become unused tokens.

        Raises:
            ConversionError: no vocabulary file, another type of tokenizer, more pieces than the
                model has rows, or two ids with the same text.
        """
        source, proto = read_proto(directory)
        pieces = len(proto.pieces)
        if pieces > config.vocab_size:
            raise ConversionError(
                f"{source} has {pieces} pieces, but vocab_size is {config.vocab_size}"
            )
        tokens = [piece.piece for piece in proto.pieces]
        scores = [piece.score for piece in proto.pieces]
        token_types = [TOKEN_TYPES[piece.type] for piece in proto.pieces]
        _append_unused(tokens, scores, token_types, rows)
        for index, text in read_added_tokens(directory, tokens[:pieces], config.vocab_size):
            tokens[index] = text
            scores[index] = ADDED_SCORE
            token_types[index] = TokenType.USER_DEFINED
        for index in (config.pad_token_id, config.eos_token_id):
            token_types[index] = TokenType.CONTROL
        _check_tokens(source, tokens, token_types)
        return cls(
            tokens=tuple(tokens),
            scores=tuple(scores),
            token_types=tuple(token_types),
            precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
            add_space_prefix=proto.normalizer_spec.add_dummy_prefix,
            remove_extra_whitespaces=proto.normalizer_spec.remove_extra_whitespaces,
            eos_token_id=config.eos_token_id,
            unk_token_id=token_types.index(TokenType.UNKNOWN),
            source=source,
            _processor=_build_processor(source, proto),
        )

    def trim(self, trimming: Trimming, rows: int) -> Self:
        """Returns the vocabulary of the kept ids, in their order, with unused ids up to `rows`."""
        whole = sentencepiece_model_pb2.ModelProto()
        whole.ParseFromString(self._processor.serialized_model_proto())
        proto = sentencepiece_model_pb2.ModelProto()
        proto.CopyFrom(whole)
        del proto.pieces[:]
        pieces = len(whole.pieces)  # added tokens have larger ids
        proto.pieces.extend(whole.pieces[index] for index in trimming.kept_ids if index < pieces)
        tokens = [self.tokens[index] for index in trimming.kept_ids]
        scores = [self.scores[index] for index in trimming.kept_ids]
        token_types = [self.token_types[index] for index in trimming.kept_ids]
        _append_unused(tokens, scores, token_types, rows)
        return replace(
            self,
            tokens=tuple(tokens),
            scores=tuple(scores),
            token_types=tuple(token_types),
            eos_token_id=trimming.kept_ids.index(self.eos_token_id),
            unk_token_id=trimming.kept_ids.index(self.unk_token_id),
            _processor=_build_processor(self.source, proto),
            trimming=trimming,
        )

    def hash_source(self) -> dict[str, str]:
        """Returns the SHA-256 of the vocabulary's file, by its name."""
        return {self.source.name: hash_file(self.source)}


def _append_unused(
    tokens: list[str], scores: list[float], token_types: list[TokenType], rows: int
) -> None:
    """Appends unused tokens, named by their ids, until there are `rows` of them."""
    for index in range(len(tokens), rows):
        tokens.append(f"[PAD{index}]")
        scores.append(UNUSED_SCORE)
        token_types.append(TokenType.UNUSED)


def _check_tokens(source: Path, tokens: Sequence[str], token_types: Sequence[TokenType]) -> None:
    """Checks that each text has one id, since llama.cpp aborts on a text with two."""
    repeated = [repr(text) for text, count in Counter(tokens).items() if count > 1]
    if repeated:
        raise ConversionError(f"{source}: several ids have the same text: {', '.join(repeated)}")
    if TokenType.UNKNOWN not in token_types:
        raise ConversionError(f"{source}: no piece is the unknown token")


def _build_processor(source: Path, proto: Any) -> SentencePieceProcessor:  # noqa: ANN401 - made at run time
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(proto.SerializeToString())
    except RuntimeError as error:
        raise ConversionError(f"{source}: SentencePiece refuses the model: {error}") from error
    return processor
