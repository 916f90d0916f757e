"""T5 in numpy F32: the reference for the logits of files and engines.

Golden files hold this reference to transformers. The code is plain on purpose: it has no batches.
It has a decoder cache only because greedy decoding of a real model takes minutes without one.
Source: Raffel et al. 2020, and transformers' `modeling_t5.py`, whose names the tensors carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from t5engine.relative import relative_position_bucket
from t5gguf.checkpoint import Checkpoint
from t5gguf.tensor_map import Role, match_tensors
from t5gguf.weights import F32


def gelu_new(x: F32) -> F32:
    """Returns the tanh approximation of GELU, which "gated-gelu" means in T5 v1.1."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)), np.float32)


@dataclass
class DecoderState:
    """The keys and values of a decoder, per layer.

    Attributes:
        cross_attention: K and V of the encoder output, (heads, input tokens, d_kv).
        self_attention: K and V of the decoder inputs so far, (heads, length, d_kv).
        length: the number of decoder inputs so far.
    """

    cross_attention: list[tuple[F32, F32]]
    self_attention: list[tuple[F32, F32]] = field(default_factory=list)
    length: int = 0


class Reference:
    """A T5 whose weights are all in memory as F32.

    Attributes:
        config: the checkpoint's config.
        max_ffn_down_input: the largest |input of a ffn_down| so far. F16 activations must be able
            to hold this value.
        observer: called with the name of a matrix in the checkpoint, and its inputs,
            (rows, columns), for each multiplication.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config = checkpoint.config
        entries = match_tensors(checkpoint)
        self._weights = {entry.source: checkpoint.tensors[entry.source].load() for entry in entries}
        by_role = {entry.role: entry.source for entry in entries}
        self._embedding = self._weights[by_role[Role.EMBEDDING]]
        self._head = by_role.get(Role.HEAD, by_role[Role.EMBEDDING])
        self.max_ffn_down_input = 0.0
        self.observer: Callable[[str, F32], None] | None = None

    def encode(self, ids: list[int]) -> F32:
        """Returns the encoder output, (tokens, d_model)."""
        hidden = self._embedding[ids]
        position = np.arange(len(ids))
        distance = position[None, :] - position[:, None]
        for layer in range(self.config.num_layers):
            prefix = f"encoder.block.{layer}.layer"
            bias = self._position_bias("encoder", layer, distance, bidirectional=True)
            normed = self._norm(hidden, f"{prefix}.0.layer_norm")
            module = f"{prefix}.0.SelfAttention"
            k = self._project_heads(normed, f"{module}.k")
            v = self._project_heads(normed, f"{module}.v")
            hidden = hidden + self._attend(normed, k, v, module, bias)
            hidden = hidden + self._feed_forward(hidden, f"{prefix}.1")
        return self._norm(hidden, "encoder.final_layer_norm")

    def start(self, encoder_output: F32) -> DecoderState:
        """Returns the state of a decoder at position 0 over an encoder output."""
        cross_attention = []
        for layer in range(self.config.num_decoder_layers):
            module = f"decoder.block.{layer}.layer.1.EncDecAttention"
            k = self._project_heads(encoder_output, f"{module}.k")
            v = self._project_heads(encoder_output, f"{module}.v")
            cross_attention.append((k, v))
        empty = np.zeros((self.config.num_heads, 0, self.config.d_kv), np.float32)
        return DecoderState(cross_attention, [(empty, empty)] * self.config.num_decoder_layers)

    def step(self, state: DecoderState, token: int) -> F32:
        """Feeds one decoder input; returns the logits after it, (vocab_size,)."""
        hidden = self._embedding[[token]]
        distance = np.arange(state.length + 1)[None, :] - state.length
        for layer in range(self.config.num_decoder_layers):
            prefix = f"decoder.block.{layer}.layer"
            bias = self._position_bias("decoder", layer, distance, bidirectional=False)
            normed = self._norm(hidden, f"{prefix}.0.layer_norm")
            module = f"{prefix}.0.SelfAttention"
            k, v = (
                np.concatenate([past, self._project_heads(normed, f"{module}.{part}")], axis=1)
                for past, part in zip(state.self_attention[layer], "kv", strict=True)
            )
            state.self_attention[layer] = (k, v)
            hidden = hidden + self._attend(normed, k, v, module, bias)
            normed = self._norm(hidden, f"{prefix}.1.layer_norm")
            module = f"{prefix}.1.EncDecAttention"
            hidden = hidden + self._attend(normed, *state.cross_attention[layer], module, None)
            hidden = hidden + self._feed_forward(hidden, f"{prefix}.2")
        state.length += 1
        output = self._norm(hidden, "decoder.final_layer_norm") * np.float32(
            self.config.output_scale
        )
        return np.asarray(self._multiply(output, self._head)[0], np.float32)

    def compute_logits(self, encoder_ids: list[int], decoder_ids: list[int]) -> F32:
        """Returns the logits after each decoder input, (len(decoder_ids), vocab_size)."""
        state = self.start(self.encode(encoder_ids))
        return np.stack([self.step(state, token) for token in decoder_ids])

    def decode_greedily(
        self, encoder_ids: list[int], max_tokens: int, suppressed_ids: Collection[int]
    ) -> list[int]:
        """Returns the most likely token of each step, up to and including `</s>`."""
        state = self.start(self.encode(encoder_ids))
        suppressed = list(suppressed_ids)
        tokens: list[int] = []
        token = self.config.decoder_start_token_id
        while len(tokens) < max_tokens and token != self.config.eos_token_id:
            logits = self.step(state, token)
            logits[suppressed] = -np.inf
            token = int(logits.argmax())
            tokens.append(token)
        return tokens

    def _norm(self, x: F32, name: str) -> F32:
        """Returns x / sqrt(mean(x^2) + eps) * w."""
        variance = np.mean(np.square(x), axis=-1, keepdims=True)
        root = np.sqrt(variance + np.float32(self.config.layer_norm_epsilon))
        return np.asarray(x / root * self._weights[f"{name}.weight"], np.float32)

    def _project_heads(self, x: F32, name: str) -> F32:
        """Multiplies, and splits the heads: (tokens, d_model) -> (heads, tokens, d_kv)."""
        projected = self._multiply(x, f"{name}.weight")
        return projected.reshape(len(x), self.config.num_heads, -1).swapaxes(0, 1)

    def _attend(self, x: F32, k: F32, v: F32, module: str, bias: F32 | None) -> F32:
        scores = self._project_heads(x, f"{module}.q") @ k.swapaxes(1, 2)  # no 1/sqrt(d_kv) in T5
        if bias is not None:
            scores = scores + bias
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        merged = (weights @ v).swapaxes(0, 1).reshape(len(x), -1)
        return self._multiply(merged, f"{module}.o.weight")

    def _position_bias(
        self, side: str, layer: int, distance: npt.NDArray[np.int64], *, bidirectional: bool
    ) -> F32:
        """Looks up the bias of distances: (queries, keys) -> (heads, queries, keys).

        UMT5 has a table per layer; the others have one table, in layer 0.
        """
        table = f"{side}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight"
        table = table if table in self._weights else table.replace(f".{layer}.", ".0.", 1)
        bucket = relative_position_bucket(
            distance,
            self.config.relative_attention_num_buckets,
            self.config.relative_attention_max_distance,
            bidirectional=bidirectional,
        )
        return self._weights[table][bucket].transpose(2, 0, 1)

    def _feed_forward(self, x: F32, prefix: str) -> F32:
        normed = self._norm(x, f"{prefix}.layer_norm")
        dense = f"{prefix}.DenseReluDense"
        if self.config.is_gated:
            gate = gelu_new(self._multiply(normed, f"{dense}.wi_0.weight"))
            inner = gate * self._multiply(normed, f"{dense}.wi_1.weight")
        else:
            inner = np.maximum(self._multiply(normed, f"{dense}.wi.weight"), np.float32(0))
        self.max_ffn_down_input = max(self.max_ffn_down_input, float(np.abs(inner).max()))
        return self._multiply(inner, f"{dense}.wo.weight")

    def _multiply(self, x: F32, name: str) -> F32:
        if self.observer is not None:
            self.observer(name, x)
        return np.asarray(x @ self._weights[name].T, np.float32)
