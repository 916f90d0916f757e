"""A tiny T5 that was taught five answers with tokens that its vocabulary lacked.

Its weights are in tests/golden/added_tokens.safetensors (tests/golden/added_tokens.py trained
them); its vocabulary is written down here, so that no release of a trainer can change it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from sentencepiece import sentencepiece_model_pb2

from support.samples import added_token, tokenizer_json, write_json

WEIGHTS = Path(__file__).parents[1] / "golden" / "added_tokens.safetensors"
PAIRS = {
    "names of cheap cars": "select name from cars where price < 10",
    "red in json": '{ "color": "red" }',
    "two colors": "red\n blue",
    "where and how big is paris?": "where is paris? <sep> how big is paris?",
    "at most 10": "price <= <hl> 10 <hl>",
}
WORDS = sorted({word for text in (*PAIRS, *PAIRS.values()) for word in text.split()})
SENTINELS = 4
# Who saved the tokenizer: transformers' fast one, its slow one (twice), transformers 5.
KINDS = ("fast", "legacy", "not_legacy", "words")
CONFIG = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_heads": 4,
    "num_layers": 1,
    "num_decoder_layers": 1,
    "feed_forward_proj": "relu",
    "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "dropout_rate": 0.0,
    "tie_word_embeddings": True,
    "transformers_version": "4.56.2",
}


def pieces() -> list[tuple[str, float]]:
    """The vocabulary: words with a space, and characters; neither braces nor `<` nor newlines."""
    words = [f"▁{word}" for word in WORDS if word.strip('",:?').isalnum()]
    characters = list('▁abcdefghijklmnopqrstuvwxyz0123456789.,:?"-')
    scored = [(word, -5.0 - index / 100) for index, word in enumerate(words)]
    return scored + [(one, -8.0 - index / 100) for index, one in enumerate(characters)]


def added() -> list[tuple[str, dict[str, bool]]]:
    """The added tokens in the order of their ids, which follow the sentinels'."""
    plain = {"normalized": True}
    return [
        ("{", plain),
        ("}", plain),
        ("<", plain),
        ("<=", plain),
        ("\n", {}),
        ("<sep>", plain),
        ("<hl>", {"special": True}),
    ]


def write_spiece(path: Path) -> int:
    """Writes the vocabulary as a spiece.model; returns the number of its pieces."""
    proto = sentencepiece_model_pb2.ModelProto()
    piece = sentencepiece_model_pb2.ModelProto.SentencePiece
    for text, kind in (("<pad>", piece.CONTROL), ("</s>", piece.CONTROL), ("<unk>", piece.UNKNOWN)):
        proto.pieces.add(piece=text, score=0.0, type=kind)
    for text, score in pieces():
        proto.pieces.add(piece=text, score=score)
    proto.trainer_spec.model_type = sentencepiece_model_pb2.TrainerSpec.UNIGRAM
    proto.trainer_spec.pad_id, proto.trainer_spec.eos_id, proto.trainer_spec.unk_id = 0, 1, 2
    proto.trainer_spec.bos_id = -1
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = True
    path.write_bytes(proto.SerializeToString())
    return len(proto.pieces)


def write_tokenizer(kind: str, directory: Path) -> int:
    """Writes the tokenizer's files as one kind of tokenizer saves them; returns the ids' number."""
    spiece = directory / "spiece.model"
    count = write_spiece(spiece)
    first = count + SENTINELS
    tokens = [
        added_token(first + index, text, **flags) for index, (text, flags) in enumerate(added())
    ]
    if kind in ("legacy", "not_legacy"):
        names = [f"<extra_id_{index}>" for index in range(SENTINELS)]
        table = {
            str(count + SENTINELS - 1 - index): added_token(0, name, special=True)
            for index, name in enumerate(names)
        } | {str(token["id"]): token for token in tokens}
        config = {
            "tokenizer_class": "T5Tokenizer",
            "legacy": kind == "legacy",
            "extra_ids": SENTINELS,
            "additional_special_tokens": [*names, "<hl>"],
            "added_tokens_decoder": {
                index: {name: value for name, value in token.items() if name != "id"}
                for index, token in table.items()
            },
        }
        write_json(directory / "tokenizer_config.json", config)
        return first + len(tokens)
    document = tokenizer_json(spiece, sentinels=SENTINELS)
    document["added_tokens"] += tokens
    document["normalizer"]["normalizers"].pop(1)  # no character map
    if kind == "words":
        document["normalizer"] = None
        document["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, document["pre_tokenizer"]],
        }
    else:
        document["pre_tokenizer"]["prepend_scheme"] = "first"
    spiece.unlink()
    write_json(directory / "tokenizer.json", document)
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"})
    return first + len(tokens)


def build(kind: str, directory: Path) -> Path:
    """Writes the checkpoint with one kind of tokenizer into a directory, and returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    ids = write_tokenizer(kind, directory)
    config = json.dumps(CONFIG | {"vocab_size": ids})
    (directory / "config.json").write_text(config, encoding="utf-8")
    if WEIGHTS.is_file():
        shutil.copy(WEIGHTS, directory / "model.safetensors")
    return directory
