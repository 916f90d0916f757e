"""Tiny checkpoints, each in a form that published checkpoints come in.

tests/golden/checkpoint_forms.json has what transformers answers with each of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from support import taught, tiny
from support.samples import added_token, read_proto, tokenizer_json, write_json

PIECE = sentencepiece_model_pb2.ModelProto.SentencePiece
PICKLES = Path(__file__).parents[1] / "golden" / "pickles"
UNTIED = tiny.FLAVOURS["tied_relu"] | {"tie_word_embeddings": False}
PICKLED = UNTIED | {"d_model": 32, "d_kv": 8, "d_ff": 64, "vocab_size": 96}
PICKLED |= {"num_layers": 1, "num_decoder_layers": 1}
PICKLE_FORMS = ("before_1_6", "parameters", "buffers")

TAUGHT_PROMPTS = (*taught.PAIRS, "red<hl>paris", "<extra_id_0>red", "a <= b<c", "  two   cars ")
STRIPPING_PROMPTS = ("cars  <sep>  price", "<sep> red", "how big<sep>is", "red  <hl> blue <sep>")
BYTE_PROMPTS = ("how big is paris?", "\u4eca\u5929 how", "red\u0f00blue \U0001f355", "x ^ y {z}")
SYMBOL_PROMPTS = ("<2de> how big is paris?", "<2de>how big", "how <2fr> big<br>is", "a~b ~ c~")
WORD_PROMPTS = ("how big is paris?", "names of cheap cars", "red", "two colors in json")
BEAM_PROMPTS = ("how big is paris?", "blue", "select name", "a blue name")
CLEANED_PROMPTS = ("red", "how", "is", '"color": of', "price", "a color", '"color":', "10 red")
NARROW_PROMPTS = ("how big is paris?", "two colors in json", "json", "at most 10")


@dataclass(frozen=True)
class Form:
    """A checkpoint's form.

    Attributes:
        build: writes the checkpoint into a directory.
        prompts: what to ask.
        file_type: the type to convert to.
        uses_defaults: whether to ask with the checkpoint's own generation defaults.
    """

    build: Callable[[Path], None]
    prompts: tuple[str, ...] = TAUGHT_PROMPTS
    file_type: str = "F32"
    uses_defaults: bool = False


def _taught(kind: str, **config: object) -> Callable[[Path], None]:
    """Writes the taught T5; `config` changes config.json, None leaves a field out."""

    def build(directory: Path) -> None:
        path = taught.build(kind, directory) / "config.json"
        fields = json.loads(path.read_text(encoding="utf-8")) | config
        write_json(path, fields)

    return build


def _with_tokenizer_step(**changes: object) -> Callable[[Path], None]:
    """Writes the taught T5 with other fields of Metaspace, before and after."""

    def build(directory: Path) -> None:
        path = taught.build("fast", directory) / "tokenizer.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        document["pre_tokenizer"] |= changes
        document["decoder"] |= changes
        write_json(path, document)

    return build


def _with_vocabulary(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Writes a random T5 with a SentencePiece vocabulary that is changed."""

    def build(directory: Path) -> None:
        _write_random(UNTIED | {"vocab_size": 400}, directory)
        path = directory / "spiece.model"
        proto = read_proto(path)
        change(proto)
        path.write_bytes(proto.SerializeToString())

    return build


def _write_random(config: dict[str, object], directory: Path) -> None:
    tiny.build_config(config, directory, restless=True)
    taught.write_spiece(directory / "spiece.model")
    settings = {"tokenizer_class": "T5Tokenizer", "legacy": True, "extra_ids": 0}
    write_json(directory / "tokenizer_config.json", settings)


def add_bytes(proto: Any) -> None:
    """Byte fallback, as mT5, UMT5 and vocabularies of one's own have it."""
    proto.trainer_spec.byte_fallback = True
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=PIECE.BYTE)


def add_symbols(proto: Any) -> None:
    """User-defined pieces, as MADLAD's languages are."""
    for text in ("<2de>", "<2fr>", "<br>", "~"):
        proto.pieces.add(piece=text, score=0.0, type=PIECE.USER_DEFINED)


def add_punctuation(proto: Any) -> None:
    """Pieces before which the clean-up of answers leaves out spaces, in place of the words."""
    kept = [piece for piece in proto.pieces if len(piece.piece) == 1 or piece.type != PIECE.NORMAL]
    next(piece for piece in kept if piece.piece == "k").piece = "!"
    del proto.pieces[:]
    proto.pieces.extend(kept)
    texts = ["'"]
    for text in ("'ve", "'re", "'m", "?", "n't", ",", "'", ".", "'s"):
        texts += [f"▁{text}", f"▁{text}s", f"▁{text}'"]
    for index, text in enumerate(dict.fromkeys(texts)):
        proto.pieces.add(piece=text, score=-7.0 - index / 100, type=PIECE.NORMAL)


def _cleaned(*, fast: bool) -> Callable[[Path], None]:
    """Writes a random T5 whose tokenizer cleans answers up, as transformers 4 saved it.

    The slow tokenizer sets its added token `!` off by spaces, which the clean-up takes back.
    """

    def build(directory: Path) -> None:
        _with_vocabulary(add_punctuation)(directory)
        spiece = directory / "spiece.model"
        path = directory / "tokenizer_config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        texts = [piece.piece for piece in read_proto(spiece).pieces]
        token = added_token(texts.index("!"), "!")
        if fast:
            document = tokenizer_json(spiece)
            document["normalizer"]["normalizers"].pop(1)  # the vocabulary has no character map
            document["added_tokens"].append(token)
            write_json(directory / "tokenizer.json", document)
        else:
            config["added_tokens_decoder"] = {str(token.pop("id")): token}
        write_json(path, config | {"clean_up_tokenization_spaces": True})

    return build


def _without_byte_fallback(directory: Path) -> None:
    """Writes both files of a vocabulary with bytes, as transformers saves its fast tokenizer."""
    _with_vocabulary(add_bytes)(directory)
    document = tokenizer_json(directory / "spiece.model")
    document["normalizer"]["normalizers"].pop(1)  # the vocabulary has no character map
    write_json(directory / "tokenizer.json", document)


def _legacy_stripping(directory: Path) -> None:
    """Writes the slow tokenizer with an added token that takes the spaces beside it."""
    path = taught.build("legacy", directory) / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for token in config["added_tokens_decoder"].values():
        if token["content"] == "<sep>":
            token |= {"lstrip": True, "rstrip": True}
    write_json(path, config)


def _narrow(directory: Path) -> None:
    _write_random(UNTIED | {"d_model": 40, "d_kv": 10, "d_ff": 72}, directory)


def write_unpickled(directory: Path) -> None:
    """Writes the random T5 that the pickled ones have the weights of, as safetensors."""
    _write_random(PICKLED, directory)


def build_pickled(form: str, directory: Path) -> None:
    """Writes it with the weights as PyTorch saved them, rounded to F16."""
    write_unpickled(directory)
    (directory / "model.safetensors").unlink()
    shutil.copy(PICKLES / f"{form}.bin", directory / "pytorch_model.bin")


def _with_defaults(directory: Path) -> None:
    _write_random(UNTIED, directory)
    defaults = {
        "num_beams": 4,
        "length_penalty": 0.3,
        "repetition_penalty": 1.3,
        "max_new_tokens": 9,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    write_json(directory / "generation_config.json", defaults)


FORMS = {
    "transformers_5": Form(_taught("fast")),
    "prepend_scheme_never": Form(_with_tokenizer_step(prepend_scheme="never")),
    "prepend_scheme_always": Form(_with_tokenizer_step(prepend_scheme="always")),
    "whitespace_split": Form(_taught("words")),
    "byte_fallback": Form(_with_vocabulary(add_bytes), BYTE_PROMPTS),
    "bytes_without_fallback": Form(_without_byte_fallback, BYTE_PROMPTS),
    "legacy_stripping": Form(_legacy_stripping, STRIPPING_PROMPTS),
    "legacy": Form(_taught("legacy"), TAUGHT_PROMPTS[:-1]),
    "not_legacy": Form(_taught("not_legacy"), TAUGHT_PROMPTS[:-1]),
    **{f"pickle_{form}": Form(partial(build_pickled, form), WORD_PROMPTS) for form in PICKLE_FORMS},
    "cleaned": Form(_cleaned(fast=True), CLEANED_PROMPTS),
    "cleaned_slow": Form(_cleaned(fast=False), CLEANED_PROMPTS),
    "user_defined": Form(_with_vocabulary(add_symbols), SYMBOL_PROMPTS),
    "no_architectures": Form(_taught("fast", architectures=None)),
    "bare_model": Form(_taught("fast", architectures=["T5Model"])),
    "end_mark_in_a_list": Form(_taught("fast", eos_token_id=[1])),
    "generation_config": Form(_with_defaults, BEAM_PROMPTS, uses_defaults=True),
    "narrow": Form(_narrow, NARROW_PROMPTS, file_type="Q4_0"),
}
