"""The generation defaults of a checkpoint: generation_config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t5engine.decoding.parameters import MAX_TOKENS, PARAMETERS
from t5gguf.config import read_json_object

FILE = "generation_config.json"
DEFAULT_TOP_K = 50  # transformers' GenerationConfig
# Fields without a meaning here, and those that config.py reads.
UNNAMED = {
    "decoder_start_token_id",
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
    "transformers_version",
    "_from_model_config",
    "use_cache",
    "max_length",
    "max_new_tokens",
    "do_sample",
}
NEUTRAL: tuple[Any, ...] = (None, False, 0, 1, [], {})


@dataclass(frozen=True)
class GenerationDefaults:
    """The defaults of a checkpoint.

    Attributes:
        values: defaults by the names that GGUF files have for them.
        ignored: what the file says and the engine does not do, each in a few words.
    """

    values: dict[str, int | float | str]
    ignored: tuple[str, ...]


def read_defaults(directory: Path) -> GenerationDefaults:
    """Reads the generation defaults of a checkpoint; none without a file.

    Raises:
        ConversionError: the file is not a JSON object.
    """
    path = directory / FILE
    if not path.is_file():
        return GenerationDefaults({}, ())
    raw = read_json_object(path)
    values: dict[str, int | float | str] = {}
    ignored = []
    for name in sorted(raw.keys() - UNNAMED):
        value = raw[name]
        if name in PARAMETERS and PARAMETERS[name].parameter.in_recipes and _is_number(value):
            if not PARAMETERS[name].parameter.admits(value):
                ignored.append(f"{name} {value}")
            elif value != PARAMETERS[name].default:
                values[name] = PARAMETERS[name].value_type(value)
        elif value is True or value not in NEUTRAL:
            ignored.append(f"{name} {value!r}")
    values |= _read_strategy(raw, values)
    for length, note in _read_length(raw):
        values["max_tokens"] = length
        ignored += [note] if note else []
    return GenerationDefaults(values, tuple(ignored))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_strategy(
    raw: Mapping[str, Any], values: Mapping[str, int | float | str]
) -> dict[str, int | float | str]:
    """Returns the strategy that transformers would use, if it is not greedy."""
    if "num_beams" in values:
        return {"strategy": "diverse_beam" if "num_beam_groups" in values else "beam"}
    if raw.get("do_sample") is True:
        top_k = {} if "top_k" in raw else {"top_k": DEFAULT_TOP_K}
        return {"strategy": "sample", **top_k}
    return {}


def _read_length(raw: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yields the most tokens of an answer, and a note if it is more than the engine gives.

    `max_length` counts the start token, which is no token of the answer.
    """
    for name, start_tokens in (("max_length", 1), ("max_new_tokens", 0)):
        value = raw.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > start_tokens:
            length = min(value - start_tokens, MAX_TOKENS)
            note = f"{name} {value} (at most {MAX_TOKENS})" if value > MAX_TOKENS else ""
            yield length, note
