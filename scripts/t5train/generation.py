"""What a model answers: greedily, or by sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import T5ForConditionalGeneration

from t5train.batches import pad
from t5train.vocabulary import PAD, UNK, Vocabulary


@torch.no_grad()
def answer(
    model: T5ForConditionalGeneration,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    *,
    samples: int = 0,
    temperature: float = 1.0,
    batch: int = 64,
    max_tokens: int = 48,
) -> list[list[str]]:
    """Answers to each text: one, greedily, or so many samples; prefixes are the caller's."""
    model.eval()
    ids = [vocabulary.encode(text) for text in texts]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    answers: list[list[str]] = [[] for _ in ids]
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        source = pad([ids[index] for index in places])
        made = model.generate(
            input_ids=source,
            attention_mask=(source != PAD).long(),
            max_new_tokens=max_tokens,
            num_beams=1,
            do_sample=samples > 0,
            temperature=temperature if samples else None,
            top_k=0 if samples else None,
            num_return_sequences=max(samples, 1),
            suppress_tokens=[UNK],
        )
        for row, output in enumerate(made.tolist()):
            text = " ".join(vocabulary.decode(output[1:]).split())
            answers[places[row // max(samples, 1)]].append(text)
    return answers
