"""The config.json of a T5 checkpoint."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from t5gguf.errors import ConversionError

T5, MT5, UMT5 = (f"{family}ForConditionalGeneration" for family in ("T5", "MT5", "UMT5"))
ARCHITECTURES = (T5, "T5WithLMHeadModel", MT5, UMT5)
ARCHITECTURES_BY_TYPE = {"t5": T5, "mt5": MT5, "umt5": UMT5}
BARE_ARCHITECTURES = {"T5Model": T5, "MT5Model": MT5, "UMT5Model": UMT5}
ACTIVATIONS = ("relu", "gated-gelu")
SPECIAL_IDS = ("decoder_start_token_id", "pad_token_id", "eos_token_id")
PREFIXES = "t5serve_prefixes"
"""The field of config.json with the prefix of each task, the default task first.

scripts/train.py writes this field.
"""


@dataclass(frozen=True)
class Config:
    """The fields of config.json that decide a T5's shape, under Hugging Face's names."""

    architecture: str
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_layers: int
    num_decoder_layers: int
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    is_gated: bool
    tie_word_embeddings: bool
    scale_decoder_outputs: bool
    n_positions: int
    decoder_start_token_id: int
    pad_token_id: int
    eos_token_id: int
    prefixes: dict[str, str] = dataclasses.field(default_factory=dict)
    is_saved_by_transformers_5: bool = False

    @property
    def d_inner(self) -> int:
        """The width of q, k and v over all heads; some models have another d_model."""
        return self.num_heads * self.d_kv

    @property
    def output_scale(self) -> float:
        """The factor on the decoder's output before the head.

        T5 v1.0, whose head is tied to the embedding, has d_model^-0.5. Other models have 1.
        """
        return float(self.d_model**-0.5) if self.scale_decoder_outputs else 1.0

    @property
    def has_bias_per_layer(self) -> bool:
        """Whether each layer has a relative attention bias, as in UMT5.

        In other models all layers share the bias of the first layer.
        """
        return self.architecture.startswith("UMT5")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads the config.json of a checkpoint directory.

        Raises:
            ConversionError: config.json is unreadable, or not of a supported T5. The message
                lists every fault.
        """
        path = directory / "config.json"
        if not path.exists():
            raise ConversionError(_describe_no_checkpoint(directory))
        raw = read_json_object(path)
        generation = directory / "generation_config.json"
        if generation.is_file():  # transformers generates with the ids of this file
            ids = read_json_object(generation)
            raw |= {name: ids[name] for name in SPECIAL_IDS if ids.get(name) is not None}
        fields = _Fields(raw)
        config = cls(**fields.read_all())
        if not fields.faults:
            fields.faults += _find_special_id_faults(config)
        if fields.faults:
            listing = "\n  ".join(fields.faults)
            raise ConversionError(f"{path}: {len(fields.faults)} fault(s)\n  {listing}")
        return config


def _describe_no_checkpoint(directory: Path) -> str:
    below = sorted(str(path.parent) for path in directory.glob("*/config.json"))
    advice = f"is it {below[0]}?" if below else "name the directory of a checkpoint"
    return f"{directory} has no config.json; {advice}"


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        ConversionError: the file is unreadable, or holds something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConversionError(f"{path}: expected a JSON object")
    return raw


def _find_special_id_faults(config: Config) -> list[str]:
    return [
        f"{name} is {getattr(config, name)}, but vocab_size is {config.vocab_size}"
        for name in SPECIAL_IDS
        if getattr(config, name) >= config.vocab_size
    ]


class _Fields:
    """Reads the fields of config.json, and collects a fault for each wrong value."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self.faults: list[str] = []

    def read_all(self) -> dict[str, Any]:
        """Returns the values of Config's fields; those with a fault have any type."""
        architecture = self._read_architecture()
        layers = self._read("num_layers", int)
        pad_token_id = self._read("pad_token_id", int, 0)
        return {
            "architecture": str(architecture),
            "vocab_size": self._read("vocab_size", int),
            "d_model": self._read("d_model", int),
            "d_kv": self._read("d_kv", int),
            "d_ff": self._read("d_ff", int),
            "num_heads": self._read("num_heads", int),
            "num_layers": layers,
            "num_decoder_layers": self._read(
                "num_decoder_layers", int, layers if isinstance(layers, int) else 1
            ),
            "relative_attention_num_buckets": self._read_buckets(),
            "relative_attention_max_distance": self._read(
                "relative_attention_max_distance", int, 128
            ),
            "layer_norm_epsilon": self._read("layer_norm_epsilon", float, 1e-6),
            "is_gated": self._read_activation(architecture) == "gated-gelu",
            **self._read_head(architecture),
            "n_positions": self._read("n_positions", int, 512),
            "decoder_start_token_id": self._read("decoder_start_token_id", int, pad_token_id),
            "pad_token_id": pad_token_id,
            "eos_token_id": self._read_eos_token_id(),
            "prefixes": self._read_prefixes(),
        }

    def _read(self, name: str, field_type: type[Any], default: Any = None) -> Any:  # noqa: ANN401
        value = self._raw.get(name, default)
        value = default if value is None else value
        if field_type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        is_valid = isinstance(value, field_type) and (
            field_type is bool or not isinstance(value, bool)
        )
        if not is_valid or (field_type is int and value < 0):
            self.faults.append(f"{name} is {value!r}, expected {field_type.__name__}")
        return value

    def _read_architecture(self) -> Any:  # noqa: ANN401 - any JSON value
        architectures = self._raw.get("architectures")
        architecture = (
            architectures[0] if isinstance(architectures, list) and architectures else None
        )
        if architecture is None:
            architecture = ARCHITECTURES_BY_TYPE.get(str(self._raw.get("model_type")))
        elif isinstance(architecture, str):
            # The same weights, without a head of their own.
            architecture = BARE_ARCHITECTURES.get(architecture, architecture)
        if architecture not in ARCHITECTURES:
            self.faults.append(
                f"architecture {architecture} is not one of {', '.join(ARCHITECTURES)}"
            )
        return architecture

    def _read_eos_token_id(self) -> Any:  # noqa: ANN401 - any JSON value
        """Reads the id of `</s>`, which may be a list of one id."""
        value = self._raw.get("eos_token_id")
        if not isinstance(value, list):
            return self._read("eos_token_id", int, 1)
        if len(value) != 1 or type(value[0]) is not int or value[0] < 0:
            self.faults.append(
                f"eos_token_id is {value!r}, but the engine ends answers with one token"
            )
            return 1
        return value[0]

    def _read_activation(self, architecture: object) -> object:
        default = "gated-gelu" if architecture in (MT5, UMT5) else "relu"
        activation = self._raw.get("feed_forward_proj", default)
        if activation not in ACTIVATIONS:
            self.faults.append(
                f"feed_forward_proj is {activation!r}, but llama.cpp supports only "
                + " and ".join(ACTIVATIONS)
            )
        return activation

    def _read_buckets(self) -> Any:  # noqa: ANN401 - any JSON value
        buckets = self._read("relative_attention_num_buckets", int, 32)
        if isinstance(buckets, int) and (buckets < 4 or buckets % 4):
            self.faults.append(
                f"relative_attention_num_buckets is {buckets}, expected a multiple of 4"
            )
        return buckets

    def _read_prefixes(self) -> Any:  # noqa: ANN401 - any JSON value
        prefixes = self._read(PREFIXES, dict, {})
        if isinstance(prefixes, dict) and not all(
            task.isidentifier() and isinstance(prefix, str) for task, prefix in prefixes.items()
        ):
            self.faults.append(
                f"{PREFIXES} is {prefixes!r}, expected a text per task, named by a plain word"
            )
        return prefixes

    def _read_head(self, architecture: object) -> dict[str, Any]:
        """Returns whether the head is tied to the embedding, and whether outputs are scaled.

        transformers 5 writes tie_word_embeddings as true for every model. For T5 it also writes
        whether outputs are scaled. It never scales the outputs of mT5 (configuration_t5.py,
        modeling_mt5.py).
        """
        tied = self._read("tie_word_embeddings", bool, default=architecture != MT5)
        version = str(self._raw.get("transformers_version")).partition(".")[0]
        is_saved_by_5 = version.isdecimal() and int(version) >= 5
        scaled = tied and not (is_saved_by_5 and architecture == MT5)
        return {
            "tie_word_embeddings": tied,
            "scale_decoder_outputs": self._read("scale_decoder_outputs", bool, scaled),
            "is_saved_by_transformers_5": is_saved_by_5,
        }
