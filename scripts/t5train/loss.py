"""The cross-entropy of a batch. The head, a third of the work, skips padding."""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import T5ForConditionalGeneration

from t5train.batches import Batch
from t5train.vocabulary import PAD


def compute_loss(
    model: T5ForConditionalGeneration, batch: Batch, smoothing: float = 0.0
) -> tuple[torch.Tensor, int]:
    """Returns the mean loss per target token, and the number of target tokens."""
    encoded = model.encoder(input_ids=batch.source, attention_mask=batch.mask)[0]
    hidden = model.decoder(
        input_ids=batch.decoder_input,
        encoder_hidden_states=encoded,
        encoder_attention_mask=batch.mask,
        use_cache=False,
    )[0]
    mask = batch.target != PAD
    hidden, target = hidden[mask], batch.target[mask]  # (tokens, d_model), (tokens,)
    if model.config.tie_word_embeddings:
        hidden = hidden * model.config.d_model**-0.5
    logits = model.lm_head(hidden)
    return functional.cross_entropy(
        logits.float(), target, label_smoothing=smoothing
    ), target.numel()
