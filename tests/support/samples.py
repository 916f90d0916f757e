"""Literals and small files that several tests of the converter share."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from t5gguf.config import Config

DATA = Path(__file__).parents[1] / "data"

T5_BASE = Config(
    architecture="T5ForConditionalGeneration",
    vocab_size=32128,
    d_model=768,
    d_kv=64,
    d_ff=3072,
    num_heads=12,
    num_layers=12,
    num_decoder_layers=12,
    relative_attention_num_buckets=32,
    relative_attention_max_distance=128,
    layer_norm_epsilon=1e-6,
    is_gated=False,
    tie_word_embeddings=True,
    scale_decoder_outputs=True,
    n_positions=512,
    decoder_start_token_id=0,
    pad_token_id=0,
    eos_token_id=1,
)


def write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def read_proto(path: Path) -> Any:
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    return proto


def added_token(index: int, content: str, **flags: bool) -> dict[str, object]:
    """An added token as tokenizer.json has it; flags that are not given are false."""
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": index, "content": content} | dict.fromkeys(names, False) | flags


def tokenizer_json(spiece: Path, *, sentinels: int = 0) -> dict[str, Any]:
    """What the `tokenizers` library would write for the vocabulary of a spiece.model.

    Hugging Face writes the sentinels into the Unigram table itself, with score 0.
    """
    proto = read_proto(spiece)
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    named = [f"<extra_id_{sentinels - 1 - index}>" for index in range(sentinels)]
    special = {0: "<pad>", 1: "</s>", 2: "<unk>", **dict(enumerate(named, len(proto.pieces)))}
    return {
        "version": "1.0",
        "added_tokens": [
            added_token(index, content, special=True, normalized=False)
            for index, content in special.items()
        ],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Strip", "strip_left": False, "strip_right": True},
                {
                    "type": "Sequence",
                    "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap}],
                },
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"},
            ],
        },
        "model": {
            "type": "Unigram",
            "unk_id": 2,
            "vocab": [
                *([piece.piece, piece.score] for piece in proto.pieces),
                *([name, 0.0] for name in named),
            ],
        },
    }


def english_vocabulary(path: Path) -> None:
    """Writes a vocabulary of 8,000 pieces, learnt from English questions, as a spiece.model."""
    shutil.copy(DATA / "english.model", path)
