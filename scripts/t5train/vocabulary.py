"""A SentencePiece Unigram vocabulary with T5's special ids: pad 0, `</s>` 1, `<unk>` 2."""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

PAD, EOS, UNK = 0, 1, 2
FILE = "spiece.model"
SMOOTHING = 0.2  # of the probabilities of cuts: 0 is any, 1 is as likely as the pieces are


def train(texts: Iterable[str], size: int, directory: Path) -> Path:
    """Learns pieces from texts and writes spiece.model.

    Digits stand alone, so that a number is copied digit by digit whether it was seen before or
    not; all of ASCII is in, so that no English text has an unknown character.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    beside = directory / f"{FILE}.new"  # an interrupted one is none
    with beside.open("wb") as file:
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
    return beside.replace(path)


def seed(number: int) -> None:
    """Makes what `Vocabulary.sample` draws repeatable."""
    sentencepiece.set_random_generator_seed(number)


class Vocabulary:
    """Text to ids, which end in `</s>`, and back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    def piece(self, index: int) -> str:
        """The text of one id, with ▁ where a word begins."""
        return str(self._processor.id_to_piece(index))

    def encode(self, text: str) -> list[int]:
        """The ids of a text and `</s>`."""
        return [*self._processor.encode(text), EOS]

    def sample(self, text: str) -> list[int]:
        """Ids of one of the ways to cut a text into pieces, and `</s>`.

        A word that is cut differently each time teaches what letters its pieces are made of
        (subword regularisation, Kudo 2018, arXiv:1804.10959).
        """
        sampled = self._processor.encode(text, enable_sampling=True, alpha=SMOOTHING, nbest_size=-1)
        return [*sampled, EOS]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids up to the first `</s>`; padding and added ids are left out."""
        kept: list[int] = []
        for index in ids:
            if index == EOS:
                break
            if index != PAD and index < len(self):
                kept.append(int(index))
        return str(self._processor.decode(kept))
