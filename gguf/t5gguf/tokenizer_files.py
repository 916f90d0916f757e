"""The files of a T5 tokenizer: spiece.model or tokenizer.json, and those of added tokens."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from t5engine.tokenization.added_tokens import AddedFlag, AddedToken
from t5engine.tokenization.tokenizer import Pipeline
from t5gguf import tokenizer_json
from t5gguf.errors import ConversionError
from t5gguf.tokenizer_json import SENTINEL

SPIECE_FILES = ("spiece.model", "tokenizer.model")
SENTINELS = 100  # T5Tokenizer's default for `extra_ids`
# Hugging Face's names of the properties of an added token, and the value of one that is not given.
FLAGS = {
    "special": (AddedFlag.SPECIAL, False),
    "normalized": (AddedFlag.NORMALIZED, True),
    "lstrip": (AddedFlag.LSTRIP, False),
    "rstrip": (AddedFlag.RSTRIP, False),
    "single_word": (AddedFlag.SINGLE_WORD, False),
}
OTHER_VOCABULARIES = {
    "merges.txt": "a BPE vocabulary (as of CodeT5)",
    "vocab.txt": "a WordPiece vocabulary (as of BERT)",
}


def read_proto(directory: Path) -> tuple[Path, Any]:
    """Reads a vocabulary as a SentencePiece message; returns the file's path and the message.

    transformers uses tokenizer.json where there is one, so its scores and byte fallback count.

    Raises:
        ConversionError: the directory has no vocabulary, or one that is not of T5's type, or
            spiece.model and tokenizer.json are not of the same vocabulary.
    """
    document = tokenizer_json.read_document(directory)
    path = directory / tokenizer_json.FILE
    for name in SPIECE_FILES:
        if (directory / name).is_file():
            proto = _parse_spiece(directory / name)
            if document is None:
                return directory / name, proto
            _check_same_pieces(directory / name, proto, path, document)
    if document is not None:
        return path, tokenizer_json.build_proto(path, document)
    raise ConversionError(_describe_missing(directory))


def _describe_missing(directory: Path) -> str:
    for name, vocabulary in OTHER_VOCABULARIES.items():
        if (directory / name).is_file():
            return (
                f"{directory} has {vocabulary}, but the engine takes SentencePiece Unigram "
                "vocabularies, as T5, mT5, UMT5 and FLAN-T5 have"
            )
    if str(_read_optional_json(directory / "tokenizer_config.json").get("tokenizer_class")) in (
        "ByT5Tokenizer",
        "ByT5TokenizerFast",
    ):
        return (
            f"{directory} has ByT5's vocabulary of bytes, but the engine takes SentencePiece "
            "Unigram vocabularies, as T5, mT5, UMT5 and FLAN-T5 have"
        )
    return (
        f"{directory} has none of {', '.join(SPIECE_FILES)}, tokenizer.json: "
        "add the tokenizer's files of the model that this one was trained from"
    )


def _parse_spiece(path: Path) -> Any:  # noqa: ANN401 - the message's class is made at run time
    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ConversionError(f"{path} is not a SentencePiece model: {error}") from error
    if proto.trainer_spec.model_type != sentencepiece_model_pb2.TrainerSpec.UNIGRAM:
        raise ConversionError(
            f"{path} is not a Unigram model, but the engine takes Unigram vocabularies, "
            "as T5, mT5, UMT5 and FLAN-T5 have"
        )
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise ConversionError(f"{path} writes whitespace as a suffix; T5 has it as a prefix")
    return proto


def _check_same_pieces(
    spiece: Path,
    proto: Any,  # noqa: ANN401 - as above
    path: Path,
    document: Mapping[str, Any],
) -> None:
    """Checks that tokenizer.json begins with the pieces of spiece.model."""
    try:
        texts = [str(text) for text, _ in document["model"]["vocab"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"{path} is not a Unigram tokenizer: {error!r}") from error
    for index, piece in enumerate(proto.pieces):
        text = texts[index] if index < len(texts) else None
        if piece.piece != text:
            raise ConversionError(
                f"{path} is not of the same vocabulary as {spiece.name}: id {index} is {text!r} "
                f"there, {piece.piece!r} here; remove the file that is not the model's"
            )


def read_pipeline(
    directory: Path, pieces: Sequence[str], vocab_size: int, control_ids: Collection[int]
) -> Pipeline:
    """Returns what a checkpoint's tokenizer does besides segmenting into pieces.

    tokenizer.json says it, or else spiece.model is used as Hugging Face's slow T5Tokenizer does:
    texts are split at added tokens before anything else, and `legacy: false` leaves out the space
    before texts after the first. Without `clean_up_tokenization_spaces` answers keep their spaces,
    as with transformers since 4.46.

    Args:
        directory: the checkpoint.
        pieces: the texts of the vocabulary's pieces.
        vocab_size: the number of ids that the model has.
        control_ids: ids that a text never makes: padding, `</s>`, `<unk>`; `</s>` first.

    Raises:
        ConversionError: a file is malformed, or has a step that is not supported.
    """
    document = tokenizer_json.read_document(directory)
    config = _read_optional_json(directory / "tokenizer_config.json")
    if document is None:
        scheme = "first" if config.get("legacy") is False else "always"
        pipeline = Pipeline(prepend_scheme=scheme, joins_added=True)
    else:
        path = directory / tokenizer_json.FILE
        pipeline = tokenizer_json.read_pipeline(path, document, next(iter(control_ids)))
    added = read_added_tokens(directory, pieces, vocab_size)
    tokens = tuple(token for token in added if token.id not in control_ids)
    if document is None:
        tokens = tuple(_read_as_slow(directory, token) for token in tokens)
    cleans_up = bool(config.get("clean_up_tokenization_spaces"))
    return replace(pipeline, added=tokens, cleans_up_spaces=cleans_up)


def _read_as_slow(directory: Path, token: AddedToken) -> AddedToken:
    """Returns an added token as the slow T5Tokenizer treats it, which never normalises.

    Raises:
        ConversionError: the token is a whole word; the slow tokenizer's rules for it are its own.
    """
    if AddedFlag.SINGLE_WORD in token.flags:
        raise ConversionError(
            f"{directory}: its added token {token.text!r} is of whole words only (single_word), "
            "which the engine does as a tokenizer.json says: save the tokenizer with "
            "T5TokenizerFast, and convert that"
        )
    return replace(token, flags=token.flags & ~AddedFlag.NORMALIZED)


def read_added_tokens(
    directory: Path, pieces: Sequence[str], vocab_size: int
) -> Iterator[AddedToken]:
    """Yields the added tokens of a checkpoint, by id; some may be among the pieces.

    A checkpoint without files that name them still has T5's sentinels: T5Tokenizer numbers
    `<extra_id_99>` .. `<extra_id_0>` upwards from the last piece if the model has rows for them.

    Raises:
        ConversionError: a file is malformed, or gives another text to a piece.
    """
    try:
        tokens = _collect_added_tokens(directory)
        extra_ids = _read_optional_json(directory / "tokenizer_config.json").get("extra_ids")
        sentinels = int(SENTINELS if extra_ids is None else extra_ids)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(
            f"{directory}: tokenizer.json, tokenizer_config.json or added_tokens.json is "
            f"malformed: {error!r}"
        ) from error
    first = len(pieces)
    texts = [token.text for token in tokens.values()]
    has_sentinels = any(SENTINEL.fullmatch(text) for text in (*pieces, *texts))
    if not has_sentinels and first + sentinels <= vocab_size:
        for offset in range(sentinels):
            index = first + offset
            text = f"<extra_id_{sentinels - 1 - offset}>"
            tokens.setdefault(index, AddedToken(index, text, AddedFlag.SPECIAL))
    for index, token in sorted(tokens.items()):
        if 0 <= index < first and pieces[index] != token.text:
            continue  # transformers names control tokens otherwise, such as [PAD]
        if 0 <= index < vocab_size:
            yield token


def _collect_added_tokens(directory: Path) -> dict[int, AddedToken]:
    """Returns the tokens that the files name, by id; tokenizer.json has the last word."""
    config = _read_optional_json(directory / "tokenizer_config.json")
    document = _read_optional_json(directory / tokenizer_json.FILE)
    special = _list_special_texts(config)
    special |= _list_special_texts(_read_optional_json(directory / "special_tokens_map.json"))
    tables: list[tuple[int, dict[str, Any]]] = [
        (int(index), {"content": str(text), "special": text in special, "normalized": False})
        for text, index in _read_optional_json(directory / "added_tokens.json").items()
    ]
    decoder = config.get("added_tokens_decoder") or {}
    tables += [(int(index), table) for index, table in decoder.items()]
    tables += [(int(table["id"]), table) for table in document.get("added_tokens") or ()]
    tokens = {}
    for index, table in tables:
        flags = AddedFlag(0)
        for name, (flag, default) in FLAGS.items():
            flags |= flag if table.get(name, default) else AddedFlag(0)
        text = str(table["content"])
        if SENTINEL.fullmatch(text):
            flags |= AddedFlag.SPECIAL
        tokens[index] = AddedToken(index, text, flags)
    return tokens


def _list_special_texts(document: Mapping[str, Any]) -> set[str]:
    """Returns the texts of the additional special tokens, under either of their names."""
    tokens: list[Any] = []
    for name in ("additional_special_tokens", "extra_special_tokens"):
        value = document.get(name) or ()
        tokens += value.values() if isinstance(value, dict) else value
    return {str(token["content"] if isinstance(token, dict) else token) for token in tokens}


def _read_optional_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{path}: {error}") from error
    return raw if isinstance(raw, dict) else {}
