"""A Hugging Face checkpoint through transformers; its candidates are chosen as the service does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
import transformers
from tqdm import tqdm

from t5engine.decoding.parameters import GenerationConfig
from t5engine.messages import Output
from t5eval.errors import EvaluationError
from t5eval.systems import Answer, Request
from t5gguf.checkpoint import PREFIXES
from t5gguf.recipe import Generation
from t5serve.reformulation.candidates import select_candidates
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.profile import Profile

BATCH = 32
MAX_INPUT_TOKENS = 512
SAME = (
    "do_sample",
    "num_beams",
    "num_return_sequences",
    "length_penalty",
    "early_stopping",
    "repetition_penalty",
    "no_repeat_ngram_size",
)
SAMPLING = ("temperature", "top_k", "top_p", "min_p")


def answers(
    directory: Path, requests: Sequence[Request], prefixes: Mapping[str, str]
) -> list[Answer]:
    """What the checkpoint makes of them; a strategy that transformers no longer has is refused.

    Raises:
        EvaluationError: no checkpoint, or groups of beams.
        RequestError: a task or parameters that can't be.
    """
    try:
        model = transformers.T5ForConditionalGeneration.from_pretrained(
            directory, dtype=torch.float32
        ).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{directory}: {error}") from error
    own = getattr(model.config, PREFIXES, {})
    profile = Profile.of_prefixes(dict(prefixes) or own, Generation())
    found: list[Answer] = []
    with tqdm(total=len(requests), desc="answers", unit="query", disable=None) as bar:
        for options, batch in _batches(requests):
            config = decoding_of(options, profile.generation)
            task = profile.task(options.task)
            texts = [task.render(query) for query in batch]
            with torch.inference_mode():
                every = _decode(model, tokenizer, texts, config)
            found += map(_answer, batch, every, [options] * len(batch))
            bar.update(len(batch))
    return found


def _batches(requests: Sequence[Request]) -> Iterator[tuple[Options, list[str]]]:
    """Queries next to each other of which the same is asked."""
    for options, group in groupby(requests, key=lambda request: request.options):
        queries = [request.query for request in group]
        for start in range(0, len(queries), BATCH):
            yield options, queries[start : start + BATCH]


def _answer(query: str, outputs: Sequence[Output], options: Options) -> Answer:
    chosen = select_candidates(query, outputs, options) if outputs else []
    texts = [one.text for one in chosen]
    if all(one.source == "original" for one in chosen):
        return Answer([query], fell_back=True)
    return Answer(texts)


def _decode(
    model: Any,  # noqa: ANN401 - transformers' types are not looked at
    tokenizer: Any,  # noqa: ANN401
    texts: Sequence[str],
    config: GenerationConfig,
) -> list[list[Output]]:
    """The outputs of each text, best first; none for a text that is too long."""
    if config.num_beam_groups > 1:
        raise EvaluationError(
            "transformers has no groups of beams any more: convert the checkpoint to GGUF, or "
            "choose --strategy and --fused-strategy beam or sample"
        )
    if config.seed is not None:
        torch.manual_seed(config.seed)
    encoded = tokenizer(list(texts), return_tensors="pt", padding=True)
    fits = encoded.attention_mask.sum(1) <= MAX_INPUT_TOKENS
    rows = fits.nonzero().flatten().tolist()
    if not rows:
        return [[] for _ in texts]
    width = int(encoded.attention_mask[rows].sum(1).max())
    kwargs = {name: getattr(config, name) for name in SAME}
    if config.do_sample:
        kwargs |= {name: getattr(config, name) for name in SAMPLING}
    generated = model.generate(
        input_ids=encoded.input_ids[rows, :width],
        attention_mask=encoded.attention_mask[rows, :width],
        max_new_tokens=config.max_tokens,
        suppress_tokens=_no_text(tokenizer, model.config.vocab_size),
        output_scores=config.do_sample,
        return_dict_in_generate=True,
        **kwargs,
    )
    found = tokenizer.batch_decode(
        generated.sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    scores = [0.0] * len(found)  # greedy has one, and beams come in their order
    if config.do_sample:
        steps = model.compute_transition_scores(
            generated.sequences, generated.scores, normalize_logits=True
        )
        real = steps.isfinite() & (generated.sequences[:, 1:] != model.config.pad_token_id)
        scores = (steps.where(real, 0.0).sum(1) / real.sum(1)).tolist()
    outputs: list[list[Output]] = [[] for _ in texts]
    each = config.num_return_sequences
    for place, row in enumerate(rows):
        span = slice(place * each, (place + 1) * each)
        own = [_output(text, score) for text, score in zip(found[span], scores[span], strict=True)]
        outputs[row] = sorted(own, key=lambda output: -output.score)
    return outputs


def _no_text(tokenizer: Any, vocab_size: int) -> list[int]:  # noqa: ANN401 - as above
    """Padding, unknown pieces, sentinels and rows without a piece, which the service suppresses."""
    sentinels = [
        index for piece, index in tokenizer.get_vocab().items() if piece.startswith("<extra_id_")
    ]
    barred = {tokenizer.pad_token_id, tokenizer.unk_token_id, *sentinels}
    return sorted({*barred, *range(len(tokenizer), vocab_size)} & {*range(vocab_size)})


def _output(text: str, score: float) -> Output:
    return Output(text=text, tokens=[], logprob=score, decoded=1, score=score, finish_reason="stop")
