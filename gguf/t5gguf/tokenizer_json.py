"""The steps of a tokenizer.json; those that the engine does not do are refused by name."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from t5engine.tokenization.tokenizer import SPACE, Pipeline
from t5gguf.config import read_json_object
from t5gguf.errors import ConversionError

FILE = "tokenizer.json"
RUN_OF_SPACES = " {2,}"
DECODERS = {"Metaspace", "ByteFallback", "Fuse"}
SENTINEL = re.compile(r"▁?<extra_id_\d+>")
ADDED_SCORE = -1000.0  # llama.cpp's converter's score of an added token; Hugging Face has none
Json = Mapping[str, Any]


class UnsupportedStepError(ConversionError):
    """The tokenizer does something that the engine does not do."""

    def __init__(self, path: Path, part: str, step: object) -> None:
        super().__init__(
            f"{path}: its {part} {step} is not supported, so the engine's token ids would differ "
            "from transformers'; convert a checkpoint whose tokenizer is T5's"
        )


def read_document(directory: Path) -> dict[str, Any] | None:
    """Returns the content of a directory's tokenizer.json, None without one.

    Raises:
        ConversionError: the file is not a JSON object, or its vocabulary is not a Unigram model.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        document = read_json_object(path)
        model_type = document["model"].get("type", "Unigram")
    except (ConversionError, KeyError, AttributeError) as error:
        raise ConversionError(f"{path} is not a Unigram tokenizer: {error}") from error
    if model_type != "Unigram":
        raise ConversionError(
            f"{path}: its model is {model_type}, but the engine takes SentencePiece Unigram "
            "vocabularies, as T5, mT5, UMT5 and FLAN-T5 have"
        )
    return document


def read_pipeline(path: Path, document: Json, eos_token_id: int) -> Pipeline:
    """Returns what the tokenizer does besides the Unigram model, without its added tokens.

    Raises:
        UnsupportedStepError: a step is not supported.
        ConversionError: the file is malformed.
    """
    try:
        pipeline = _read_steps(path, document)
        _check_post_processor(path, document.get("post_processor"), eos_token_id)
        pipeline = replace(pipeline, keeps_first_space=_read_decoder(path, document))
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ConversionError(f"{path} is malformed: {error!r}") from error
    return pipeline


def _read_steps(path: Path, document: Json) -> Pipeline:
    strips_end = strips_start = merges = False
    for step in _flatten(document.get("normalizer"), "normalizers"):
        if step["type"] == "Strip":
            strips_start |= step["strip_left"]
            strips_end |= step["strip_right"]
        elif step["type"] == "Replace" and step["pattern"] == {"Regex": RUN_OF_SPACES}:
            if step["content"] not in (" ", SPACE):
                raise UnsupportedStepError(path, "normalizer", f"Replace {RUN_OF_SPACES!r}")
            merges = True
        elif step["type"] != "Precompiled":
            raise UnsupportedStepError(path, "normalizer", step["type"])
    steps = list(_flatten(document.get("pre_tokenizer"), "pretokenizers"))
    types = [step["type"] for step in steps]
    splits_words = types == ["WhitespaceSplit", "Metaspace"]
    if types != ["Metaspace"] and not splits_words:
        unknown = [name for name in types if name not in ("WhitespaceSplit", "Metaspace")]
        raise UnsupportedStepError(path, "pre_tokenizer", ", ".join(unknown or types) or "None")
    scheme = _read_scheme(path, "pre_tokenizer", steps[-1])
    if scheme != "always" and (splits_words or strips_start):
        other = "WhitespaceSplit" if splits_words else "Strip"
        raise UnsupportedStepError(path, "combination", f"of {other} with Metaspace {scheme!r}")
    return Pipeline(
        prepend_scheme=scheme,
        keeps_space=not splits_words,
        merges_spaces=merges or splits_words,
        strips_end=strips_end or splits_words,
        splits_words=splits_words,
    )


def _read_scheme(path: Path, part: str, metaspace: Json) -> str:
    """Returns the prepend scheme of a Metaspace; old files say it by `add_prefix_space`."""
    if metaspace["replacement"] != SPACE:
        raise UnsupportedStepError(path, part, f"Metaspace {metaspace['replacement']!r}")
    return str(
        metaspace.get("prepend_scheme")
        or ("always" if metaspace.get("add_prefix_space", True) else "never")
    )


def _read_decoder(path: Path, document: Json) -> bool:
    """Returns whether the decoder keeps the space of the first token."""
    steps = list(_flatten(document.get("decoder"), "decoders"))
    for step in steps:
        if step["type"] not in DECODERS:
            raise UnsupportedStepError(path, "decoder", step["type"])
    metaspaces = [step for step in steps if step["type"] == "Metaspace"]
    if len(metaspaces) != 1:
        raise UnsupportedStepError(path, "decoder", "without one Metaspace")
    return _read_scheme(path, "decoder", metaspaces[0]) == "never"


def _check_post_processor(path: Path, step: Json | None, eos_token_id: int) -> None:
    """Checks that the tokenizer appends `</s>` and nothing else."""
    if step is None or step["type"] != "TemplateProcessing":
        raise UnsupportedStepError(path, "post_processor", step and step["type"])
    names = [name for item in step["single"] for name in item]
    ids = [
        token_id
        for item in step["single"]
        if "SpecialToken" in item
        for token_id in step["special_tokens"][item["SpecialToken"]["id"]]["ids"]
    ]
    if names != ["Sequence", "SpecialToken"] or ids != [eos_token_id]:
        raise UnsupportedStepError(path, "post_processor", f"TemplateProcessing {step['single']}")


def _flatten(step: Json | None, plural: str) -> Iterator[Json]:
    """Yields the steps of a normalizer, a pre-tokenizer or a decoder, sequences included."""
    if step is None:
        return
    if step["type"] != "Sequence":
        yield step
        return
    for inner in step[plural]:
        yield from _flatten(inner, plural)


def build_proto(path: Path, document: Json) -> Any:  # noqa: ANN401 - made at run time
    """Returns a SentencePiece message with the pieces and the character map of the file.

    Raises:
        ConversionError: the file is malformed.
    """
    piece_class = sentencepiece_model_pb2.ModelProto.SentencePiece
    proto = sentencepiece_model_pb2.ModelProto()
    try:
        model = document["model"]
        special = {
            token["content"] for token in document.get("added_tokens", []) if token["special"]
        }
        has_bytes = bool(model.get("byte_fallback"))
        if not isinstance(model["unk_id"], int):
            raise TypeError(f"unk_id is {model['unk_id']!r}")  # noqa: TRY301 - caught below
        for index, (text, score) in enumerate(model["vocab"]):
            piece_type = piece_class.NORMAL
            if index == model["unk_id"]:
                piece_type = piece_class.UNKNOWN
            elif has_bytes and is_byte(text):
                piece_type = piece_class.BYTE
            elif SENTINEL.fullmatch(text):
                # Hugging Face writes score 0; this is the score that spiece.model has.
                piece_type, score = piece_class.USER_DEFINED, ADDED_SCORE  # noqa: PLW2901
            elif text in special:
                piece_type = piece_class.CONTROL
            proto.pieces.add(piece=text, score=score, type=piece_type)
        charsmaps = [
            step["precompiled_charsmap"]
            for step in _flatten(document.get("normalizer"), "normalizers")
            if step["type"] == "Precompiled"
        ]
        charsmap = charsmaps[0] if charsmaps else ""
        proto.normalizer_spec.precompiled_charsmap = base64.b64decode(charsmap, validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise ConversionError(f"{path} is not a Unigram tokenizer: {error!r}") from error
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = True
    return proto


def is_byte(text: str) -> bool:
    """Whether a piece stands for a byte: `<0xE2>`."""
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")
