"""Runs transformers on PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import T5ForConditionalGeneration

from t5bench.engine import Document, Generated


class PyTorch:
    """A checkpoint, loaded in a torch dtype (`float32`, `bfloat16`)."""

    def __init__(self, path: str, threads: int, dtype: str, batch: int = 32) -> None:
        torch.set_num_threads(threads)
        self._model = T5ForConditionalGeneration.from_pretrained(path, dtype=getattr(torch, dtype))
        self._model.eval()
        self._batch = batch

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """See `Engine`."""
        return Generated(decode_greedily(self._model, ids, tokens, fixed=fixed))

    def judge(self, documents: Sequence[Document], tokens: Sequence[int]) -> list[list[float]]:
        """See `Engine`; documents of one length."""
        logits: list[list[float]] = []
        for start in range(0, len(documents), self._batch):
            batch = documents[start : start + self._batch]
            ids = torch.tensor([document["ids"] for document in batch])
            with torch.inference_mode():
                output = self._model(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    decoder_input_ids=torch.zeros((len(ids), 1), dtype=torch.long),
                    use_cache=False,
                )
            logits += output.logits[:, 0, list(tokens)].float().tolist()
        return logits


def decode_greedily(
    model: Any,  # noqa: ANN401 - of transformers, or of optimum with the same interface
    ids: Sequence[int],
    tokens: int,
    *,
    fixed: bool,
) -> list[int]:
    """Returns the output of transformers' `generate`, without the decoder's start token."""
    input_ids = torch.tensor([list(ids)])
    with torch.inference_mode():
        output = model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            do_sample=False,
            num_beams=1,
            min_new_tokens=tokens if fixed else None,
            max_new_tokens=tokens,
            use_cache=True,
        )
    output_ids: list[int] = output[0, 1:].tolist()
    return output_ids
