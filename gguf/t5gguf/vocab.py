"""A T5 vocabulary: SentencePiece Unigram pieces, and the text, score and type of each id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from gguf import TokenType
from sentencepiece import sentencepiece_model_pb2

from t5engine.tokenization.added_tokens import AddedFlag
from t5engine.tokenization.tokenizer import Pipeline, Tokenizer
from t5engine.tokenization.unigram import Piece
from t5gguf import tokenizer_json
from t5gguf.config import Config
from t5gguf.errors import ConversionError
from t5gguf.hashing import hash_file
from t5gguf.source_tokenizer import Encode, open_source
from t5gguf.tokenizer_files import read_pipeline, read_proto
from t5gguf.tokenizer_json import ADDED_SCORE, SENTINEL

PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece
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
    """One text, score and type per id, for as many ids as the file's embedding has rows.

    Attributes:
        pipeline: what the tokenizer does besides segmenting, and the added tokens.
        is_tokenizers: whether tokenizer.json says how, and not spiece.model.
    """

    tokens: tuple[str, ...]
    scores: tuple[float, ...]
    token_types: tuple[TokenType, ...]
    precompiled_charsmap: bytes
    add_space_prefix: bool
    remove_extra_whitespaces: bool
    eos_token_id: int
    pad_token_id: int
    unk_token_id: int
    source: Path
    pipeline: Pipeline
    is_tokenizers: bool
    _encode: Encode
    trimming: Trimming | None = None

    def encode(self, text: str) -> list[int]:
        """Returns the token ids of a text by the checkpoint's own tokenizer, with `</s>`.

        That is the `tokenizers` library on tokenizer.json, or else SentencePiece on spiece.model. A
        trimmed vocabulary has neither: there the engine's own tokenizer is used. It is also used
        for a text with `</s>`, `<pad>` or `<unk>`, which only the engine takes as text.
        """
        control = (self.eos_token_id, self.pad_token_id, self.unk_token_id)
        if any(self.tokens[index] in text for index in control):
            return [*self._tokenizer.encode(text), self.eos_token_id]
        return self._encode(text)

    @property
    def tokenizer_name(self) -> str:
        """The name of what `encode` is, for messages."""
        if self.trimming:
            return "the engine's own tokenizer"
        return "the tokenizers library" if self.is_tokenizers else "SentencePiece"

    def select_suppressed_ids(self, rows: int) -> list[int]:
        """Returns the ids below `rows` that generation must not emit.

        These are padding, `<unk>`, unused rows and sentinels. Other special tokens are generated,
        as in transformers, and left out of the text.
        """
        never = (TokenType.UNKNOWN, TokenType.UNUSED)
        return [
            index
            for index in range(rows)
            if index != self.eos_token_id
            and (
                index == self.pad_token_id
                or self.token_types[index] in never
                or SENTINEL.fullmatch(self.tokens[index])
            )
        ]

    def select_shown_pieces(self) -> list[str]:
        """Returns the texts of the tokens that are generated and appear in answers."""
        hidden = {token.id for token in self.pipeline.added if AddedFlag.SPECIAL in token.flags}
        hidden.update(self.select_suppressed_ids(len(self.tokens)))
        shown = (TokenType.NORMAL, TokenType.USER_DEFINED)
        return [
            token
            for index, token in enumerate(self.tokens)
            if self.token_types[index] in shown and index not in hidden
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
        if TokenType.UNKNOWN not in token_types:
            raise ConversionError(f"{source}: no piece is the unknown token")
        unk_token_id = token_types.index(TokenType.UNKNOWN)
        control_ids = (config.eos_token_id, config.pad_token_id, unk_token_id)
        pipeline = read_pipeline(directory, tokens, config.vocab_size, control_ids)
        has_json = (directory / tokenizer_json.FILE).is_file()
        if not has_json:
            pipeline = _apply_spec(pipeline, proto.normalizer_spec)
        _append_unused(tokens, scores, token_types, rows)
        for token in pipeline.added:
            if token.id >= pieces:
                tokens[token.id] = token.text
                scores[token.id] = ADDED_SCORE
                token_types[token.id] = TokenType.USER_DEFINED
        for index in (config.pad_token_id, config.eos_token_id):
            token_types[index] = TokenType.CONTROL
        _check_tokens(source, tokens)
        return cls(
            tokens=tuple(tokens),
            scores=tuple(scores),
            token_types=tuple(token_types),
            precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
            add_space_prefix=pipeline.prepend_scheme != "never",
            remove_extra_whitespaces=pipeline.merges_spaces,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            unk_token_id=unk_token_id,
            source=source,
            pipeline=pipeline,
            is_tokenizers=has_json,
            _encode=open_source(directory, source, proto, pipeline, config.eos_token_id),
        )

    def trim(self, trimming: Trimming, rows: int) -> Self:
        """Returns the vocabulary of the kept ids, in their order, with unused ids up to `rows`."""
        tokens = [self.tokens[index] for index in trimming.kept_ids]
        scores = [self.scores[index] for index in trimming.kept_ids]
        token_types = [self.token_types[index] for index in trimming.kept_ids]
        _append_unused(tokens, scores, token_types, rows)
        kept = {index: position for position, index in enumerate(trimming.kept_ids)}
        added = (token for token in self.pipeline.added if token.id in kept)
        trimmed = replace(
            self,
            tokens=tuple(tokens),
            scores=tuple(scores),
            token_types=tuple(token_types),
            eos_token_id=kept[self.eos_token_id],
            pad_token_id=kept[self.pad_token_id],
            unk_token_id=kept[self.unk_token_id],
            pipeline=replace(
                self.pipeline, added=tuple(replace(token, id=kept[token.id]) for token in added)
            ),
            trimming=trimming,
        )
        encode = trimmed._tokenizer.encode  # noqa: SLF001 - of this class
        return replace(trimmed, _encode=lambda text: [*encode(text), trimmed.eos_token_id])

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """Returns the engine's tokenizer of this vocabulary."""
        rows = list(zip(self.tokens, self.scores, self.token_types, strict=True))
        pieces = [
            Piece(index, token, score, token_type is TokenType.USER_DEFINED)
            for index, (token, score, token_type) in enumerate(rows)
            if token_type in (TokenType.NORMAL, TokenType.USER_DEFINED)
        ]
        byte_ids = [index for index, row in enumerate(rows) if row[2] is TokenType.BYTE]
        charsmap = self.precompiled_charsmap
        return Tokenizer(pieces, self.unk_token_id, byte_ids, charsmap, self.pipeline)

    def hash_source(self) -> dict[str, str]:
        """Returns the SHA-256 of the vocabulary's file, by its name."""
        return {self.source.name: hash_file(self.source)}


def _apply_spec(pipeline: Pipeline, spec: Any) -> Pipeline:  # noqa: ANN401 - made at run time
    """Returns a pipeline that treats spaces as a SentencePiece model says."""
    scheme = pipeline.prepend_scheme if spec.add_dummy_prefix else "never"
    merges = spec.remove_extra_whitespaces
    return replace(pipeline, prepend_scheme=scheme, merges_spaces=merges, strips_end=merges)


def _append_unused(
    tokens: list[str], scores: list[float], token_types: list[TokenType], rows: int
) -> None:
    """Appends unused tokens, named by their ids, until there are `rows` of them."""
    for index in range(len(tokens), rows):
        tokens.append(f"[PAD{index}]")
        scores.append(UNUSED_SCORE)
        token_types.append(TokenType.UNUSED)


def _check_tokens(source: Path, tokens: Sequence[str]) -> None:
    """Checks that each text has one id, since llama.cpp aborts on a text with two."""
    repeated = [repr(text) for text, count in Counter(tokens).items() if count > 1]
    if repeated:
        raise ConversionError(f"{source}: several ids have the same text: {', '.join(repeated)}")
