"""Leaves out the rows of a vocabulary that a domain's text has no use for.

A Unigram tokenizer takes the segmentation with the best sum of scores. Pieces that are not part of
it can go and it stays the best, so a text is cut as before if all of its pieces stayed. What stays
besides is what scores of other tokens depend on, and what anything at all is spelled with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import TokenType

from t5gguf.checkpoint import F32, HEAD, Checkpoint, LazyTensor, sha256
from t5gguf.errors import ConversionError, VerificationError
from t5gguf.reference import Reference
from t5gguf.tensor_map import EMBEDDINGS
from t5gguf.verify import BOUNDS, MAX_INPUT_TOKENS, TOKENS, Sample, compare
from t5gguf.vocab import SENTINEL, Trimming, Vocabulary
from t5gguf.writer import padded_rows


@dataclass(frozen=True)
class Loss:
    """What trimming changed of some queries.

    Attributes:
        queries: how many there were.
        same_pieces: of which the text is cut into the same pieces.
        same_answers: of which the reference's answer begins with the same tokens as well.
    """

    queries: int
    same_pieces: int
    same_answers: int


def trim(
    checkpoint: Checkpoint, vocabulary: Vocabulary, domain: Path, prefixes: Collection[str]
) -> tuple[Checkpoint, Vocabulary]:
    """The same model with the rows that a text file uses.

    Args:
        checkpoint: the model.
        vocabulary: its vocabulary, whole.
        domain: a line for each text that goes into the model or comes out of it.
        prefixes: stand before the lines; a line by itself counts, too.

    Raises:
        ConversionError: the file has no text.
    """
    lines = [line for line in domain.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ConversionError(f"{domain} has no text: expected a line for each query and answer")
    config = checkpoint.config
    texts = (prefix + line for line in lines for prefix in {"", *prefixes})
    special = {config.pad_token_id, config.eos_token_id, config.decoder_start_token_id}
    ids = kept(vocabulary, texts, special)
    tensors = {
        name: _rows_of(tensor, ids) if name in (*EMBEDDINGS, HEAD) else tensor
        for name, tensor in checkpoint.tensors.items()
    }
    trimmed = replace(
        config,
        vocab_size=len(ids),
        pad_token_id=ids.index(config.pad_token_id),
        eos_token_id=ids.index(config.eos_token_id),
        decoder_start_token_id=ids.index(config.decoder_start_token_id),
    )
    trimming = Trimming(tuple(ids), config.vocab_size, sha256(domain))
    return (
        replace(checkpoint, config=trimmed, tensors=tensors),
        vocabulary.trimmed(trimming, padded_rows(len(ids))),
    )


def kept(vocabulary: Vocabulary, texts: Iterable[str], special: Collection[int]) -> list[int]:
    """The ids that stay, ascending.

    Those of the texts' pieces, the special ones, and all that are no ordinary piece but for
    sentinels and unused rows. Of the ordinary ones single characters, and those with the lowest
    and the highest score, from which SentencePiece and llama.cpp derive what an unknown character
    and an added token score.
    """
    used = {*special}.union(*map(vocabulary.encode, texts))
    normal = [index for index, kind in enumerate(vocabulary.types) if kind is TokenType.NORMAL]
    used |= {choose(normal, key=vocabulary.scores.__getitem__) for choose in (min, max)}
    return [
        index
        for index in range(len(vocabulary.tokens))
        if index in used or _stays(vocabulary, index)
    ]


def _stays(vocabulary: Vocabulary, index: int) -> bool:
    """Whether a token stays that no text uses."""
    token, kind = vocabulary.tokens[index], vocabulary.types[index]
    if kind is TokenType.NORMAL:
        return len(token.removeprefix("▁")) <= 1
    return kind is not TokenType.UNUSED and not SENTINEL.fullmatch(token)


def _rows_of(tensor: LazyTensor, ids: Sequence[int]) -> LazyTensor:
    def read() -> F32:
        return tensor.load()[ids]

    return LazyTensor(tensor.name, (len(ids), *tensor.shape[1:]), read)


def loss(
    reference: Reference, vocabulary: Vocabulary, trimming: Trimming, samples: Sequence[Sample]
) -> Loss:
    """Compares a trimmed model with the whole one.

    Args:
        reference: the whole model.
        vocabulary: the whole vocabulary.
        trimming: what stayed of it.
        samples: of the trimmed model.

    Raises:
        VerificationError: the trimmed model's logits are not the whole one's at the same rows.
    """
    ids = np.array(trimming.ids)
    suppressed = vocabulary.suppressed(reference.config.vocab_size)
    same_pieces = same_answers = 0
    for one in samples:
        encoder_ids, decoder_ids = ids[one.encoder_ids].tolist(), ids[one.decoder_ids].tolist()
        whole = reference.logits(encoder_ids, decoder_ids)[:, ids]
        if not compare(whole, one.logits).rms <= BOUNDS[Type.F32]:
            raise VerificationError(f"trimming changed the logits of {one.text!r}")
        if vocabulary.encode(one.text)[-MAX_INPUT_TOKENS:] == encoder_ids:
            same_pieces += 1
            path = reference.greedy(encoder_ids, TOKENS, suppressed)
            same_answers += path[:-1] == decoder_ids[1:]
    return Loss(len(samples), same_pieces, same_answers)
