"""Judges documents with ONNX Runtime itself: an encoder and a decoder without a cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from t5bench.engine import Document


class OnnxJudge:
    """A model in a directory that optimum-cli quantised.

    Args:
        path: The directory.
        threads: Threads of one operator.
        suffix: The suffix of the files' names: `_quantized` or empty.
        batch: Documents of one call.
    """

    def __init__(self, path: str, threads: int, *, suffix: str = "", batch: int = 32) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(
                str(Path(path, f"{part}_model{suffix}.onnx")),
                options,
                providers=["CPUExecutionProvider"],
            )
            for part in ("encoder", "decoder")
        )
        self._batch = batch

    def judge(self, documents: Sequence[Document], tokens: Sequence[int]) -> list[list[float]]:
        """See `Engine`; documents of one length."""
        logits: list[list[float]] = []
        for start in range(0, len(documents), self._batch):
            batch = documents[start : start + self._batch]
            ids = np.array([document["ids"] for document in batch], np.int64)
            mask = np.ones_like(ids)
            (states,) = self._encoder.run(None, {"input_ids": ids, "attention_mask": mask})
            inputs = {
                "input_ids": np.zeros((len(ids), 1), np.int64),
                "encoder_attention_mask": mask,
                "encoder_hidden_states": states,
            }
            (output,) = self._decoder.run(["logits"], inputs)
            logits += output[:, 0, list(tokens)].tolist()
        return logits
