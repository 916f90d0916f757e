"""Runs ONNX Runtime through optimum-onnx."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime
from optimum.onnxruntime import ORTModelForSeq2SeqLM

from t5bench.engine import Generated
from t5bench.engines.pytorch import decode_greedily


class OnnxRuntime:
    """A model in a directory that optimum-cli exported or quantised.

    Args:
        path: The directory.
        threads: Threads of one operator.
        suffix: The suffix of the files' names: `_quantized` or empty.
        merged: Whether one decoder runs the first and the later steps, or two decoders.
        io_binding: Whether outputs stay in ONNX Runtime's memory between steps.
    """

    def __init__(
        self,
        path: str,
        threads: int,
        *,
        suffix: str = "",
        merged: bool = True,
        io_binding: bool = False,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        decoder = "decoder_model_merged" if merged else "decoder_model"
        self._model = ORTModelForSeq2SeqLM.from_pretrained(
            path,
            encoder_file_name=f"encoder_model{suffix}.onnx",
            decoder_file_name=f"{decoder}{suffix}.onnx",
            decoder_with_past_file_name=None if merged else f"decoder_with_past_model{suffix}.onnx",
            use_merged=merged,
            use_io_binding=io_binding,
            session_options=options,
            provider="CPUExecutionProvider",
        )

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """See `Engine`."""
        return Generated(decode_greedily(self._model, ids, tokens, fixed=fixed))
