"""A SentencePiece Unigram vocabulary with T5's special ids: pad 0, `</s>` 1, `<unk>` 2."""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

PAD, EOS, UNK = 0, 1, 2
FILE = "spiece.model"
SMOOTHING = 0.2  # of segmentation probabilities: 0 is uniform, 1 the pieces' own probabilities


def train(texts: Iterable[str], size: int, directory: Path) -> Path:
    """Learns pieces from texts, writes spiece.model and returns its path.

    Each digit is a piece, so that unknown numbers are copied digit by digit like known ones. All
    of ASCII is included, so that no English text has an unknown character.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    temporary = directory / f"{FILE}.new"  # so that no incomplete file has the final name
    with temporary.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=file,
            model_type="unigram",
            vocab_size=size,
            character_coverage=0.9999,
            required_chars=string.ascii_letters + string.digits + string.punctuation,
            split_digits=True,
            pad_id=PAD,
            eos_id=EOS,
            unk_id=UNK,
            bos_id=-1,
            num_threads=2,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return temporary.replace(path)


def seed(number: int) -> None:
    """Seeds `Vocabulary.sample`; SentencePiece repeats its results within a process only."""
    sentencepiece.set_random_generator_seed(number)


class Vocabulary:
    """Converts text to ids, which end in `</s>`, and back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    def piece(self, index: int) -> str:
        """Returns the text of an id, with ▁ where a word begins."""
        return str(self._processor.id_to_piece(index))

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, `</s>` included."""
        return [*self._processor.encode(text), EOS]

    def sample(self, text: str) -> list[int]:
        """Returns the ids of a random segmentation of a text, `</s>` included.

        Different segmentations of a word teach a model the letters of its pieces (subword
        regularisation, Kudo 2018, arXiv:1804.10959).
        """
        sampled = self._processor.encode(text, enable_sampling=True, alpha=SMOOTHING, nbest_size=-1)
        return [*sampled, EOS]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text before the first `</s>`, without padding and ids of no piece."""
        pieces: list[int] = []
        for index in ids:
            if index == EOS:
                break
            if index != PAD and index < len(self):
                pieces.append(int(index))
        return str(self._processor.decode(pieces))
