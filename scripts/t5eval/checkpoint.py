"""Runs a Hugging Face checkpoint through transformers.

Candidates are selected as the service selects them.
"""

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
from t5eval.messages import Answer, Request
from t5gguf.config import PREFIXES
from t5gguf.recipe import Generation
from t5serve.reformulation.candidates import select_candidates
from t5serve.reformulation.options import Options, decoding_of
from t5serve.reformulation.profile import Profile

BATCH = 32
MAX_INPUT_TOKENS = 512
SHARED_FIELDS = (  # of GenerationConfig, with the same names in transformers
    "do_sample",
    "num_beams",
    "num_return_sequences",
    "length_penalty",
    "early_stopping",
    "repetition_penalty",
    "no_repeat_ngram_size",
)
SAMPLING_FIELDS = ("temperature", "top_k", "top_p", "min_p")


def answer_requests(
    directory: Path, requests: Sequence[Request], prefixes: Mapping[str, str]
) -> list[Answer]:
    """Returns the checkpoint's answers in the requests' order.

    Raises:
        EvaluationError: The directory has no checkpoint, or a request asks for groups of beams,
            which transformers no longer has.
        RequestError: A task or a parameter is not valid.
    """
    try:
        model = transformers.T5ForConditionalGeneration.from_pretrained(
            directory, dtype=torch.float32
        ).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{directory}: {error}") from error
    model_prefixes = getattr(model.config, PREFIXES, {})
    profile = Profile.of_prefixes(dict(prefixes) or model_prefixes, Generation())
    answers: list[Answer] = []
    with tqdm(total=len(requests), desc="answers", unit="query", disable=None) as bar:
        for options, batch in _split_batches(requests):
            config = decoding_of(options, profile.generation)
            task = profile.task(options.task)
            texts = [task.render(query) for query in batch]
            with torch.inference_mode():
                outputs = _decode(model, tokenizer, texts, config)
            answers += map(_select_answer, batch, outputs, [options] * len(batch))
            bar.update(len(batch))
    return answers


def _split_batches(requests: Sequence[Request]) -> Iterator[tuple[Options, list[str]]]:
    """Yields batches of adjacent queries that share their options."""
    for options, group in groupby(requests, key=lambda request: request.options):
        queries = [request.query for request in group]
        for start in range(0, len(queries), BATCH):
            yield options, queries[start : start + BATCH]


def _select_answer(query: str, outputs: Sequence[Output], options: Options) -> Answer:
    selection = select_candidates(query, outputs, options)
    selected, reason = selection.reformulations, selection.unchanged_reason
    if reason is None and all(candidate.source == "original" for candidate in selected):
        return Answer([query], fell_back=True)
    return Answer([candidate.text for candidate in selected], unchanged_reason=reason)


def _decode(
    model: Any,  # noqa: ANN401 - transformers is not type-checked
    tokenizer: Any,  # noqa: ANN401
    texts: Sequence[str],
    config: GenerationConfig,
) -> list[list[Output]]:
    """Returns the outputs of each text, best first; none for a text that is too long."""
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
    kwargs = {name: getattr(config, name) for name in SHARED_FIELDS}
    if config.do_sample:
        kwargs |= {name: getattr(config, name) for name in SAMPLING_FIELDS}
    generated = model.generate(
        input_ids=encoded.input_ids[rows, :width],
        attention_mask=encoded.attention_mask[rows, :width],
        max_new_tokens=config.max_tokens,
        suppress_tokens=_suppressed_ids(tokenizer, model.config.vocab_size),
        output_scores=config.do_sample,
        return_dict_in_generate=True,
        **kwargs,
    )
    decoded = tokenizer.batch_decode(
        generated.sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    scores = [0.0] * len(decoded)  # greedy has one output, and beams come in order
    if config.do_sample:
        steps = model.compute_transition_scores(
            generated.sequences, generated.scores, normalize_logits=True
        )
        mask = steps.isfinite() & (generated.sequences[:, 1:] != model.config.pad_token_id)
        scores = (steps.where(mask, 0.0).sum(1) / mask.sum(1)).tolist()
    outputs: list[list[Output]] = [[] for _ in texts]
    count = config.num_return_sequences
    for index, row in enumerate(rows):
        span = slice(index * count, (index + 1) * count)
        row_outputs = map(_make_output, decoded[span], scores[span])
        outputs[row] = sorted(row_outputs, key=lambda output: -output.score)
    return outputs


def _suppressed_ids(tokenizer: Any, vocab_size: int) -> list[int]:  # noqa: ANN401 - as above
    """Returns the ids that the service suppresses.

    They are padding, `<unk>`, the sentinels, and rows of the embedding without a piece.
    """
    sentinels = [
        index for piece, index in tokenizer.get_vocab().items() if piece.startswith("<extra_id_")
    ]
    special = {tokenizer.pad_token_id, tokenizer.unk_token_id, *sentinels}
    return sorted({*special, *range(len(tokenizer), vocab_size)} & {*range(vocab_size)})


def _make_output(text: str, score: float) -> Output:
    return Output(text=text, tokens=[], logprob=score, decoded=1, score=score, finish_reason="stop")
