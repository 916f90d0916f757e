"""Runs OpenVINO through optimum-intel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from optimum.intel import OVModelForSeq2SeqLM

from t5bench.engine import Generated
from t5bench.engines.pytorch import decode_greedily


class OpenVINO:
    """A model in a directory that optimum-cli exported without state.

    Args:
        path: The directory.
        threads: Threads of one inference, and of PyTorch between two.
        properties: Properties of OpenVINO's CPU plugin.
    """

    def __init__(self, path: str, threads: int, properties: Mapping[str, str]) -> None:
        torch.set_num_threads(threads)
        self._model = OVModelForSeq2SeqLM.from_pretrained(
            path,
            stateful=False,
            use_cache=True,
            ov_config={"INFERENCE_NUM_THREADS": str(threads), **properties},
        )

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """See `Engine`."""
        return Generated(decode_greedily(self._model, ids, tokens, fixed=fixed))
