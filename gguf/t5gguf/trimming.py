"""Leaves out the rows of a vocabulary that the text of a domain does not use.

A Unigram tokenizer chooses the segmentation with the best sum of scores. If other pieces are left
out, that segmentation is still the best. So a text is split as before if all of its pieces stayed.
The pieces that any other text can be spelled with stay as well, and the pieces that the scores of
other tokens depend on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import TokenType

from t5gguf.checkpoint import HEAD, Checkpoint
from t5gguf.errors import ConversionError, VerificationError
from t5gguf.hashing import hash_file
from t5gguf.reference import Reference
from t5gguf.tasks import Task
from t5gguf.tensor_map import EMBEDDINGS
from t5gguf.tokenizer_json import SENTINEL
from t5gguf.verify import LOGIT_BOUNDS, MAX_INPUT_TOKENS, SAMPLE_TOKENS, Sample, compare_logits
from t5gguf.vocab import Trimming, Vocabulary
from t5gguf.weights import F32, LazyTensor
from t5gguf.writer import padded_rows


@dataclass(frozen=True)
class TrimmingLoss:
    """The effect of trimming on some queries.

    Attributes:
        queries: the number of queries.
        same_pieces: the number of queries that are split into the same pieces.
        same_answers: the number of these whose answer begins with the same tokens as well.
    """

    queries: int
    same_pieces: int
    same_answers: int


def trim(
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    domain: Path,
    tasks: Collection[Task],
    texts: Iterable[str] = (),
) -> tuple[Checkpoint, Vocabulary]:
    """Returns the same model with only the rows that a text file uses.

    Args:
        checkpoint: the model.
        vocabulary: the model's whole vocabulary.
        domain: a text file with a line for each input or output of the model.
        tasks: whose templates the lines fill; a line by itself counts, too.
        texts: further texts whose rows are kept.

    Raises:
        ConversionError: the file has no text.
    """
    lines = [line for line in domain.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ConversionError(f"{domain} has no text: expected a line for each query and answer")
    config = checkpoint.config
    texts = [*texts, *(task.render(line) for line in lines for task in [Task(), *tasks])]
    special_ids = {config.pad_token_id, config.eos_token_id, config.decoder_start_token_id}
    ids = select_kept_ids(vocabulary, texts, special_ids)
    tensors = {
        name: _select_rows(tensor, ids) if name in (*EMBEDDINGS, HEAD) else tensor
        for name, tensor in checkpoint.tensors.items()
    }
    trimmed_config = replace(
        config,
        vocab_size=len(ids),
        pad_token_id=ids.index(config.pad_token_id),
        eos_token_id=ids.index(config.eos_token_id),
        decoder_start_token_id=ids.index(config.decoder_start_token_id),
    )
    trimming = Trimming(tuple(ids), config.vocab_size, hash_file(domain))
    return (
        replace(checkpoint, config=trimmed_config, tensors=tensors),
        vocabulary.trim(trimming, padded_rows(len(ids))),
    )


def select_kept_ids(
    vocabulary: Vocabulary, texts: Iterable[str], special_ids: Collection[int]
) -> list[int]:
    """Returns the ids that stay, ascending.

    These are the ids of the texts' pieces, the special ids, and all tokens that are no ordinary
    piece except sentinels and unused rows. Ordinary pieces of a single character stay, and the
    pieces with the lowest and the highest score. From these two, SentencePiece and llama.cpp derive
    the scores of an unknown character and of an added token.
    """
    used = {*special_ids}.union(*map(vocabulary.encode, texts))
    normal = [
        index
        for index, token_type in enumerate(vocabulary.token_types)
        if token_type is TokenType.NORMAL
    ]
    used |= {select(normal, key=vocabulary.scores.__getitem__) for select in (min, max)}
    return [
        index
        for index in range(len(vocabulary.tokens))
        if index in used or _is_always_kept(vocabulary, index)
    ]


def _is_always_kept(vocabulary: Vocabulary, index: int) -> bool:
    """Whether a token stays even if no text uses it."""
    token, token_type = vocabulary.tokens[index], vocabulary.token_types[index]
    if token_type is TokenType.NORMAL:
        return len(token.removeprefix("▁")) <= 1
    return token_type is not TokenType.UNUSED and not SENTINEL.fullmatch(token)


def _select_rows(tensor: LazyTensor, ids: Sequence[int]) -> LazyTensor:
    def read() -> F32:
        return tensor.load()[ids]

    return LazyTensor(tensor.name, (len(ids), *tensor.shape[1:]), read)


def measure_loss(
    reference: Reference, vocabulary: Vocabulary, trimming: Trimming, samples: Sequence[Sample]
) -> TrimmingLoss:
    """Compares a trimmed model with the whole model.

    Args:
        reference: the whole model.
        vocabulary: the whole vocabulary.
        trimming: the rows that stayed.
        samples: queries and answers of the trimmed model.

    Raises:
        VerificationError: the logits of the two models differ in the rows that stayed.
    """
    ids = np.array(trimming.kept_ids)
    suppressed_ids = vocabulary.select_suppressed_ids(reference.config.vocab_size)
    same_pieces = same_answers = 0
    for sample in samples:
        encoder_ids = ids[sample.encoder_ids].tolist()
        decoder_ids = ids[sample.decoder_ids].tolist()
        whole_logits = reference.compute_logits(encoder_ids, decoder_ids)[:, ids]
        if not compare_logits(whole_logits, sample.logits).rms <= LOGIT_BOUNDS[Type.F32]:
            raise VerificationError(f"trimming changed the logits of {sample.text!r}")
        if vocabulary.encode(sample.text)[-MAX_INPUT_TOKENS:] == encoder_ids:
            same_pieces += 1
            path = reference.decode_greedily(encoder_ids, SAMPLE_TOKENS, suppressed_ids)
            same_answers += path[:-1] == decoder_ids[1:]
    return TrimmingLoss(len(samples), same_pieces, same_answers)
