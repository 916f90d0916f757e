"""The checkpoint's own tokenizer, by its own library: what the engine's token ids are held to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from t5engine.tokenization.added_tokens import AddedFlag, AddedToken
from t5engine.tokenization.tokenizer import Pipeline
from t5gguf import tokenizer_json
from t5gguf.errors import ConversionError

Encode = Callable[[str], list[int]]


def open_tokenizers_json(path: Path) -> Encode:
    """Returns a function that gives the ids of a text, `</s>` last, by the `tokenizers` library.

    Raises:
        ConversionError: the library refuses the file.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - takes a while, and few commands need it

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["truncation"] = document["padding"] = None  # transformers sets them itself
        tokenizer = Tokenizer.from_str(json.dumps(document))
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = str(error).partition("\n")[0]
        raise ConversionError(f"{path}: the tokenizers library refuses it: {reason}") from error
    return lambda text: list(tokenizer.encode(text).ids)


class SentencePieceTokenizer:
    """Hugging Face's slow T5Tokenizer: texts between added tokens go to SentencePiece.

    Raises:
        ConversionError: SentencePiece refuses the model.
    """

    def __init__(
        self,
        source: Path,
        proto: Any,  # noqa: ANN401 - the message's class is made at run time
        pipeline: Pipeline,
        eos_token_id: int,
    ) -> None:
        self._with_prefix = _build_processor(source, proto)
        unprefixed = type(proto)()
        unprefixed.CopyFrom(proto)
        unprefixed.normalizer_spec.add_dummy_prefix = False
        self._without_prefix = _build_processor(source, unprefixed)
        self._pipeline = pipeline
        self._eos_token_id = eos_token_id

    def __call__(self, text: str) -> list[int]:
        """Returns the ids of a text, `</s>` last."""
        added = {token.text: token for token in self._pipeline.added}
        ids: list[int] = []
        for index, part in enumerate(_split_stripped(text, added)):
            if index % 2:
                ids.append(added[part].id)
                continue
            is_first = self._pipeline.prepend_scheme == "always" or index == 0
            has_prefix = is_first or (part[:1].isspace() and self._pipeline.merges_spaces)
            processor = self._with_prefix if has_prefix else self._without_prefix
            ids += processor.encode(part)
        return [*ids, self._eos_token_id]


def _split_stripped(text: str, added: Mapping[str, AddedToken]) -> list[str]:
    """Returns texts and added tokens in turn; some tokens take the whitespace beside them."""
    parts = _split(text, list(added))
    for index in range(1, len(parts), 2):
        flags = added[parts[index]].flags
        if AddedFlag.LSTRIP in flags:
            parts[index - 1] = parts[index - 1].rstrip()
        if AddedFlag.RSTRIP in flags:
            parts[index + 1] = parts[index + 1].lstrip()
    return parts


def _split(text: str, separators: Sequence[str]) -> list[str]:
    """Returns texts and separators in turn, a text first."""
    if not separators:
        return [text]
    longest_first = sorted(separators, key=len, reverse=True)
    return re.split(f"({'|'.join(map(re.escape, longest_first))})", text)


def _build_processor(source: Path, proto: Any) -> SentencePieceProcessor:  # noqa: ANN401 - as above
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(proto.SerializeToString())
    except RuntimeError as error:
        raise ConversionError(f"{source}: SentencePiece refuses the model: {error}") from error
    return processor


def open_source(
    directory: Path,
    source: Path,
    proto: Any,  # noqa: ANN401 - as above
    pipeline: Pipeline,
    eos_token_id: int,
) -> Encode:
    """Returns the tokenizer that transformers would use for a checkpoint, as a function.

    Raises:
        ConversionError: a library refuses the checkpoint's file.
    """
    path = directory / tokenizer_json.FILE
    if path.is_file():
        return open_tokenizers_json(path)
    return SentencePieceTokenizer(source, proto, pipeline, eos_token_id)
