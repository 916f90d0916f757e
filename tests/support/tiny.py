"""Tiny random T5 checkpoints in Hugging Face's layout, made without torch.

A flavour is one way in which published T5 files differ. Weights come from
`np.random.RandomState`, whose stream NumPy has frozen, so the golden files stay
valid for a checkpoint that is rebuilt on every test run instead of being committed.
"""

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from safetensors import TensorSpec, serialize_file

Float32 = NDArray[np.float32]

QUERIES = Path(__file__).parents[2] / "gguf" / "t5gguf" / "calibration.txt"

# Ids below are pieces; by T5's convention the 100 above are sentinels, last one first.
PIECES = 200

EOS = 1

_T5: dict[str, object] = {
    "architectures": ["T5ForConditionalGeneration"],
    "classifier_dropout": 0.0,
    "d_ff": 128,
    "d_kv": 16,
    "d_model": 64,
    "decoder_start_token_id": 0,
    "dense_act_fn": "relu",
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "relu",
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "is_gated_act": False,
    "layer_norm_epsilon": 1e-06,
    "model_type": "t5",
    "n_positions": 512,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "num_layers": 2,
    "pad_token_id": 0,
    "relative_attention_max_distance": 128,
    "relative_attention_num_buckets": 32,
    "torch_dtype": "float32",
    "transformers_version": "4.56.2",
    "use_cache": True,
    "vocab_size": 320,
}

_T5_V1_1: dict[str, object] = _T5 | {
    "dense_act_fn": "gelu_new",
    "feed_forward_proj": "gated-gelu",
    "is_gated_act": True,
    "tie_word_embeddings": False,
}

FLAVOURS: dict[str, dict[str, object]] = {
    "tied_relu": _T5,
    "gated_untied": _T5_V1_1,
    # Six heads of 16 make attention wider than d_model, which catches a mix-up of the two.
    "unequal": _T5 | {"num_layers": 3, "num_decoder_layers": 1, "num_heads": 6},
    "google_extra": _T5,
    "umt5": _T5_V1_1
    | {
        "architectures": ["UMT5ForConditionalGeneration"],
        "model_type": "umt5",
        "scalable_attention": True,
        "tokenizer_class": "T5Tokenizer",
    },
}

# For searches. The weights above settle on repeating one piece and hardly ever end, which leaves
# a beam without variety and without a finished hypothesis; `_unsettle` changes that. ReLU, as
# ggml computes GELU less exactly than a search has near-ties.
RESTLESS: dict[str, dict[str, object]] = {
    "restless": _T5 | {"tie_word_embeddings": False},
    "restless_unequal": _T5 | {"tie_word_embeddings": False, "num_layers": 3, "num_heads": 6},
}


def tensors(flavour: str, seed: int = 0) -> dict[str, Float32]:
    """Draw a flavour's weights, named as Hugging Face names them.

    Extra tensors are drawn last: `google_extra` is `tied_relu` plus what a reader must ignore,
    and from the same seed both must give the same logits.
    """
    random = np.random.RandomState(seed)
    drawn = draw(_config(flavour), random)
    if flavour in RESTLESS:
        _unsettle(drawn)
    if flavour == "google_extra":
        used = drawn["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
        drawn[unused] = random.standard_normal(used.shape).astype(np.float32)
        for copy in ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"):
            drawn[f"{copy}.weight"] = drawn["shared.weight"].copy()
    return drawn


def _config(flavour: str) -> dict[str, object]:
    return (FLAVOURS | RESTLESS)[flavour]


def _unsettle(drawn: dict[str, Float32]) -> None:
    """Let the next piece depend on the last one most of all, and the end mark's odds vary widely.

    The factors were found by trial: most hypotheses of a beam end, and at many lengths up to 20.
    """
    for name in drawn:
        if name.startswith("decoder.") and name.endswith("DenseReluDense.wo.weight"):
            drawn[name] *= 6
        elif name.endswith("EncDecAttention.o.weight"):
            drawn[name] *= 0.5
    drawn["lm_head.weight"][EOS] *= 2.5


def draw(config: Mapping[str, object], random: np.random.RandomState) -> dict[str, Float32]:
    drawn: dict[str, Float32] = {}
    for name, shape, scale in _plan(config):
        noise = random.standard_normal(shape) * scale
        # A norm whose weights were all one would hide a reader that forgets them.
        value = 1 + noise if name.endswith("norm.weight") else noise
        drawn[name] = value.astype(np.float32)
    return drawn


def vocabulary(path: Path) -> None:
    """Train a SentencePiece Unigram model of exactly `PIECES` pieces on the golden queries.

    No golden file depends on its pieces, which another release of the trainer may choose otherwise.
    """
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(QUERIES.read_text(encoding="utf-8").splitlines()),
        model_writer=model,
        model_type="unigram",
        vocab_size=PIECES,
        hard_vocab_limit=True,
        normalization_rule_name="nmt_nfkc",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        # More threads would sum the expected counts in another order.
        num_threads=1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def build(
    flavour: str, directory: Path, *, seed: int = 0, dtype: str = "float32", shards: int = 1
) -> Path:
    """Write a checkpoint into `directory`, which is made if it is missing, and return it.

    `dtype` is float32, float16 or bfloat16. Several shards get an index file, and
    neighbouring tensors land in different ones: a reader must not rely on their order.
    """
    stored = {name: _cast(value, dtype) for name, value in tensors(flavour, seed).items()}
    _write_beside_weights(directory, _config(flavour) | {"torch_dtype": dtype})
    if shards == 1:
        _write_tensors(directory / "model.safetensors", stored, dtype)
        return directory
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        names = list(stored)[shard::shards]
        _write_tensors(directory / file, {name: stored[name] for name in names}, dtype)
        weight_map |= dict.fromkeys(names, file)
    total = sum(value.nbytes for value in stored.values())
    _write_json(
        directory / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": weight_map},
    )
    return directory


def build_config(
    config: Mapping[str, object], directory: Path, *, seed: int = 0, restless: bool = False
) -> Path:
    """Write a checkpoint of any shape, in float32; a restless one needs a head of its own."""
    _write_beside_weights(directory, config)
    drawn = draw(config, np.random.RandomState(seed))
    if restless:
        _unsettle(drawn)
    _write_tensors(directory / "model.safetensors", drawn, "float32")
    return directory


def build_poison(directory: Path, token: int) -> Path:
    """Write one whose feed-forward overflows F16 after one token, in encoder and decoder."""
    drawn = tensors("tied_relu", seed=3)
    direction = np.random.RandomState(0).standard_normal(64).astype(np.float32)
    direction /= np.linalg.norm(direction)
    embedding = drawn["shared.weight"]
    embedding -= np.outer(embedding @ direction, direction)
    embedding[token] = 30 * direction
    for place in ("encoder.block.0.layer.1", "decoder.block.0.layer.2"):
        drawn[f"{place}.DenseReluDense.wi.weight"][0] = 1.2e4 * direction
    _write_beside_weights(directory, FLAVOURS["tied_relu"])
    _write_tensors(directory / "model.safetensors", drawn, "float32")
    return directory


def _write_beside_weights(directory: Path, config: Mapping[str, object]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "config.json", config)
    vocabulary(directory / "spiece.model")


def _plan(config: Mapping[str, object]) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """Yield name, shape and scale of each tensor, in the order in which they are drawn.

    Scales are those Hugging Face initialises with, so that activations have a real model's size.
    """
    d_model = _integer(config, "d_model")
    yield "shared.weight", (_integer(config, "vocab_size"), d_model), 1.0
    for stack, layers, attentions in (
        ("encoder", "num_layers", ("SelfAttention",)),
        ("decoder", "num_decoder_layers", ("SelfAttention", "EncDecAttention")),
    ):
        for index in range(_integer(config, layers)):
            block = f"{stack}.block.{index}.layer"
            for position, attention in enumerate(attentions):
                # UMT5 learns a position bias per layer; T5 shares that of the first.
                own = config["model_type"] == "umt5" or index == 0
                biased = attention == "SelfAttention" and own
                yield from _attention(f"{block}.{position}.{attention}", config, biased=biased)
                yield f"{block}.{position}.layer_norm.weight", (d_model,), 0.1
            yield from _feed_forward(f"{block}.{len(attentions)}.DenseReluDense", config)
            yield f"{block}.{len(attentions)}.layer_norm.weight", (d_model,), 0.1
        yield f"{stack}.final_layer_norm.weight", (d_model,), 0.1
    if config.get("tie_word_embeddings") is False:
        yield "lm_head.weight", (_integer(config, "vocab_size"), d_model), d_model**-0.5


def _attention(
    prefix: str, config: Mapping[str, object], *, biased: bool
) -> Iterator[tuple[str, tuple[int, ...], float]]:
    d_model, d_kv = _integer(config, "d_model"), _integer(config, "d_kv")
    heads = _integer(config, "num_heads")
    inner = heads * d_kv
    yield f"{prefix}.q.weight", (inner, d_model), (d_model * d_kv) ** -0.5
    yield f"{prefix}.k.weight", (inner, d_model), d_model**-0.5
    yield f"{prefix}.v.weight", (inner, d_model), d_model**-0.5
    yield f"{prefix}.o.weight", (d_model, inner), inner**-0.5
    if biased:
        buckets = _integer(config, "relative_attention_num_buckets")
        # Larger than d_model**-0.5, so that a wrong bucket is seen in the logits.
        yield f"{prefix}.relative_attention_bias.weight", (buckets, heads), 0.5


def _feed_forward(
    prefix: str, config: Mapping[str, object]
) -> Iterator[tuple[str, tuple[int, ...], float]]:
    d_model, d_ff = _integer(config, "d_model"), _integer(config, "d_ff")
    for name in ("wi_0", "wi_1") if config["is_gated_act"] else ("wi",):
        yield f"{prefix}.{name}.weight", (d_ff, d_model), d_model**-0.5
    yield f"{prefix}.wo.weight", (d_model, d_ff), d_ff**-0.5


def _integer(config: Mapping[str, object], key: str) -> int:
    value = config[key]
    if not isinstance(value, int):
        raise TypeError(key)
    return value


def _cast(value: Float32, dtype: str) -> NDArray[np.generic]:
    """Convert to the stored type; NumPy has no bfloat16, so that one is returned as its bits."""
    if dtype != "bfloat16":
        return value.astype(dtype)
    bits = value.view(np.uint32)
    # Round half to even: the upper half's last bit decides a tie.
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype(np.uint16)


def _write_tensors(path: Path, stored: Mapping[str, NDArray[np.generic]], dtype: str) -> None:
    # Not safetensors.numpy.save_file: it takes the type from the array, and there is no bfloat16.
    specs = {
        name: TensorSpec(
            dtype=dtype, shape=value.shape, data_ptr=value.ctypes.data, data_len=value.nbytes
        )
        for name, value in stored.items()
    }
    serialize_file(specs, path, metadata={"format": "pt"})


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
