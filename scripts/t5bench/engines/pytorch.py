"""transformers on PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import T5ForConditionalGeneration

from t5bench.engine import Generated


class PyTorch:
    """A checkpoint in a type by torch's name (`float32`, `bfloat16`)."""

    def __init__(self, path: str, threads: int, dtype: str) -> None:
        torch.set_num_threads(threads)
        self._model = T5ForConditionalGeneration.from_pretrained(path, dtype=getattr(torch, dtype))
        self._model.eval()

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """Greedy."""
        return Generated(greedy(self._model, ids, tokens, fixed=fixed))


def greedy(model: Any, ids: Sequence[int], tokens: int, *, fixed: bool) -> list[int]:  # noqa: ANN401
    """What transformers' `generate` says, of its own models and of those that look like them."""
    given = torch.tensor([list(ids)])
    with torch.inference_mode():
        output = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            do_sample=False,
            num_beams=1,
            min_new_tokens=tokens if fixed else None,
            max_new_tokens=tokens,
            use_cache=True,
        )
    found: list[int] = output[0, 1:].tolist()  # the first one is the decoder's start
    return found
