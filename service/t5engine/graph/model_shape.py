"""The hyperparameters of a T5 that its graph depends on."""

from __future__ import annotations

from dataclasses import dataclass

from t5engine.reader import GGUFFile


@dataclass(frozen=True)
class ModelShape:
    """The hyperparameters of a T5 that its graph depends on.

    Attributes:
        vocab_rows: rows of the embedding, padding included.
        buckets: relative position buckets.
        max_distance: relative distance from which all share a bucket.
    """

    d_model: int
    d_kv: int
    d_ff: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    vocab_rows: int
    epsilon: float
    buckets: int
    max_distance: int

    @property
    def d_inner(self) -> int:
        """Width of q, k and v over all heads."""
        return self.heads * self.d_kv


def read_shape(file: GGUFFile) -> ModelShape:
    """Reads the hyperparameters of a file.

    Raises:
        KeyError: the header lacks one.
    """

    def number(key: str) -> int:
        return int(file.metadata[f"t5.{key}"])

    heads = number("attention.head_count")
    d_model = number("embedding_length")
    return ModelShape(
        d_model=d_model,
        d_kv=int(file.metadata.get("t5.attention.key_length", d_model // heads)),
        d_ff=number("feed_forward_length"),
        heads=heads,
        encoder_layers=number("block_count"),
        decoder_layers=int(
            file.metadata.get("t5.decoder_block_count", file.metadata["t5.block_count"])
        ),
        vocab_rows=file.tensors["token_embd.weight"].shape[0],
        epsilon=float(file.metadata["t5.attention.layer_norm_rms_epsilon"]),
        buckets=number("attention.relative_buckets_count"),
        max_distance=int(file.metadata.get("t5serve.relative_attention_max_distance", 128)),
    )
