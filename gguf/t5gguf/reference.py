"""T5 in numpy F32: the one reference that files and engines are held to.

Held itself to transformers by golden files. Plain on purpose: no batch, no cleverness; a decoder
cache only because greedy decoding of a real model would take minutes without one.
Source: Raffel et al. 2020, and transformers' `modeling_t5.py`, whose names the tensors carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from t5engine.relative import relative_position_bucket
from t5gguf.checkpoint import F32, Checkpoint
from t5gguf.tensor_map import Role, match


def gelu_new(x: F32) -> F32:
    """The tanh approximation that "gated-gelu" means in T5 v1.1."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)), np.float32)


@dataclass
class DecoderState:
    """What decoding keeps per layer: self-attention K, V so far, cross-attention K, V."""

    cross: list[tuple[F32, F32]]
    past: list[tuple[F32, F32]] = field(default_factory=list)
    length: int = 0


class Reference:
    """A T5 whose weights are all in memory as F32."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config = checkpoint.config
        entries = match(checkpoint)
        self._weights = {entry.source: checkpoint.tensors[entry.source].load() for entry in entries}
        by_role = {entry.role: entry.source for entry in entries}
        self._embedding = self._weights[by_role[Role.EMBEDDING]]
        self._head = by_role.get(Role.HEAD, by_role[Role.EMBEDDING])
        self.max_ffn_down_input = 0.0
        """Largest |input of a ffn_down| met so far: what F16 activations must hold."""
        self.observe: Callable[[str, F32], None] | None = None
        """Told of every matrix, by its name in the checkpoint, and its inputs, (rows, columns)."""

    def encode(self, ids: list[int]) -> F32:
        """Encoder output, shape (tokens, d_model)."""
        hidden = self._embedding[ids]
        position = np.arange(len(ids))
        distance = position[None, :] - position[:, None]
        for layer in range(self.config.num_layers):
            prefix = f"encoder.block.{layer}.layer"
            bias = self._bias("encoder", layer, distance, bidirectional=True)
            normed = self._norm(hidden, f"{prefix}.0.layer_norm")
            module = f"{prefix}.0.SelfAttention"
            k, v = self._heads(normed, f"{module}.k"), self._heads(normed, f"{module}.v")
            hidden = hidden + self._attend(normed, k, v, module, bias)
            hidden = hidden + self._feed_forward(hidden, f"{prefix}.1")
        return self._norm(hidden, "encoder.final_layer_norm")

    def start(self, encoded: F32) -> DecoderState:
        """A decoder at position 0 over an encoder output."""
        cross = []
        for layer in range(self.config.num_decoder_layers):
            module = f"decoder.block.{layer}.layer.1.EncDecAttention"
            cross.append((self._heads(encoded, f"{module}.k"), self._heads(encoded, f"{module}.v")))
        empty = np.zeros((self.config.num_heads, 0, self.config.d_kv), np.float32)
        return DecoderState(cross, [(empty, empty)] * self.config.num_decoder_layers)

    def step(self, state: DecoderState, token: int) -> F32:
        """Logits after one more decoder input, shape (vocab_size,)."""
        hidden = self._embedding[[token]]
        distance = np.arange(state.length + 1)[None, :] - state.length
        for layer in range(self.config.num_decoder_layers):
            prefix = f"decoder.block.{layer}.layer"
            bias = self._bias("decoder", layer, distance, bidirectional=False)
            normed = self._norm(hidden, f"{prefix}.0.layer_norm")
            module = f"{prefix}.0.SelfAttention"
            k, v = (
                np.concatenate([past, self._heads(normed, f"{module}.{part}")], axis=1)
                for past, part in zip(state.past[layer], "kv", strict=True)
            )
            state.past[layer] = (k, v)
            hidden = hidden + self._attend(normed, k, v, module, bias)
            normed = self._norm(hidden, f"{prefix}.1.layer_norm")
            module = f"{prefix}.1.EncDecAttention"
            hidden = hidden + self._attend(normed, *state.cross[layer], module, None)
            hidden = hidden + self._feed_forward(hidden, f"{prefix}.2")
        state.length += 1
        output = self._norm(hidden, "decoder.final_layer_norm") * np.float32(
            self.config.output_scale
        )
        return np.asarray(self._product(output, self._head)[0], np.float32)

    def logits(self, encoder_ids: list[int], decoder_ids: list[int]) -> F32:
        """Logits after each decoder input, shape (len(decoder_ids), vocab_size)."""
        state = self.start(self.encode(encoder_ids))
        return np.stack([self.step(state, token) for token in decoder_ids])

    def greedy(
        self, encoder_ids: list[int], max_tokens: int, suppress: Collection[int]
    ) -> list[int]:
        """The most likely tokens one by one, up to and with `</s>`."""
        state = self.start(self.encode(encoder_ids))
        blocked = list(suppress)
        tokens: list[int] = []
        token = self.config.decoder_start_token_id
        while len(tokens) < max_tokens and token != self.config.eos_token_id:
            logits = self.step(state, token)
            logits[blocked] = -np.inf
            token = int(logits.argmax())
            tokens.append(token)
        return tokens

    def _norm(self, x: F32, name: str) -> F32:
        variance = np.mean(np.square(x), axis=-1, keepdims=True)
        root = np.sqrt(variance + np.float32(self.config.layer_norm_epsilon))
        return np.asarray(x / root * self._weights[f"{name}.weight"], np.float32)

    def _heads(self, x: F32, name: str) -> F32:
        """(tokens, d_model) -> (heads, tokens, d_kv)."""
        projected = self._product(x, f"{name}.weight")
        return projected.reshape(len(x), self.config.num_heads, -1).swapaxes(0, 1)

    def _attend(self, x: F32, k: F32, v: F32, module: str, bias: F32 | None) -> F32:
        scores = self._heads(x, f"{module}.q") @ k.swapaxes(1, 2)  # T5 has no 1/sqrt(d_kv)
        if bias is not None:
            scores = scores + bias
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        merged = (weights @ v).swapaxes(0, 1).reshape(len(x), -1)
        return self._product(merged, f"{module}.o.weight")

    def _bias(
        self, side: str, layer: int, distance: npt.NDArray[np.int64], *, bidirectional: bool
    ) -> F32:
        """(queries, keys) distances -> (heads, queries, keys); UMT5 has one table per layer."""
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
            gate = gelu_new(self._product(normed, f"{dense}.wi_0.weight"))
            inner = gate * self._product(normed, f"{dense}.wi_1.weight")
        else:
            inner = np.maximum(self._product(normed, f"{dense}.wi.weight"), np.float32(0))
        self.max_ffn_down_input = max(self.max_ffn_down_input, float(np.abs(inner).max()))
        return self._product(inner, f"{dense}.wo.weight")

    def _product(self, x: F32, name: str) -> F32:
        if self.observe is not None:
            self.observe(name, x)
        return np.asarray(x @ self._weights[name].T, np.float32)
