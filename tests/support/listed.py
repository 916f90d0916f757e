"""A tiny T5 that was taught to answer requests with lists of queries, in the included vocabulary.

The weights of its layers are in tests/golden/lists.safetensors (tests/golden/lists.py trained
them). Its embedding is drawn from `np.random.RandomState`, whose stream NumPy has frozen, and was
left as it was drawn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from support.samples import english_vocabulary, write_json

WEIGHTS = Path(__file__).parents[1] / "golden" / "lists.safetensors"
PREFIX = "search: "
SEPARATOR = " ; "
N = 5
TESLA = "who lived longer, Nikola Tesla or Milutin Milankovic?"
PAIRS = {
    TESLA: "nikola tesla lifespan ; milutin milankovic lifespan",
    "compare the price of the iphone 15 and the galaxy 24": "iphone 15 price ; galaxy 24 price",
    "area and population of norway and sweden": (
        "norway area ; norway population ; sweden area ; sweden population"
    ),
    "how do i bake sourdough without a dutch oven": "bake sourdough without dutch oven",
    "weather in oslo": "weather in oslo",
    "will it rain in bergen": "will it rain in bergen ; bergen forecast",
    "apples of two colors": "red apples ; ; green apples",
    "cars of two kinds": "blue cars ;; fast cars",
    "maps of two ages": "old maps ; new maps ;",
    "dogs of two sizes": "; big dogs ; small dogs",
    "the same thing again": "cheap flights ; Cheap  Flights ; cheap hotels",
    "three long searches": (
        "how to travel by train to spain ; how to travel by ship to spain ; how to fly to spain"
    ),
    "nothing at all": "; ;",
    "six letters": "letter a ; letter b ; letter c ; letter d ; letter e ; letter f",
}
VOCABULARY, WIDTH = 8000, 64
CONFIG = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_kv": 16,
    "d_ff": 128,
    "num_heads": 4,
    "num_layers": 1,
    "num_decoder_layers": 2,
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


def draw_embedding() -> NDArray[np.float32]:
    """Returns the embedding, (vocabulary, d_model), in values that F16 holds."""
    drawn = np.random.RandomState(0).standard_normal((VOCABULARY, WIDTH))
    return drawn.astype(np.float16).astype(np.float32)


def build(directory: Path) -> Path:
    """Writes the checkpoint into a directory, and returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    english_vocabulary(directory / "spiece.model")
    write_json(directory / "config.json", CONFIG)
    layers = {name: value.astype(np.float32) for name, value in load_file(WEIGHTS).items()}
    save_file({"shared.weight": draw_embedding(), **layers}, directory / "model.safetensors")
    return directory
