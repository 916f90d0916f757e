"""A SentencePiece Unigram vocabulary with T5's special ids: pad 0, `</s>` 1, `<unk>` 2."""

from __future__ import annotations

import io
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

PAD, EOS, UNK = 0, 1, 2
FILE = "spiece.model"
SPACE = "\u2581"  # SentencePiece's
MARK_SCORE = -3.0  # log-probability of a mark: better than its characters one by one
SMOOTHING = 0.2  # of segmentation probabilities: 0 is uniform, 1 the pieces' own probabilities


def train(
    texts: Iterable[str],
    size: int,
    directory: Path,
    *,
    byte_fallback: bool = False,
    marks: Sequence[str] = (),
) -> Path:
    """Learns pieces from texts, writes spiece.model and returns its path.

    Each digit is a piece, so that unknown numbers are copied digit by digit like known ones. All
    of ASCII is included, so that no English text has an unknown character.

    Args:
        texts: What the pieces are learnt from.
        size: The number of pieces.
        directory: Where spiece.model is written.
        byte_fallback: Whether an unknown character becomes the pieces of its bytes, so that any
            script can be copied. The 256 pieces count towards `size`.
        marks: Texts that are one piece after a space, such as the mark between queries.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    temporary = directory / f"{FILE}.new"  # so that no incomplete file has the final name
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=trained,
        model_type="unigram",
        vocab_size=size,
        character_coverage=0.9999,
        required_chars=string.ascii_letters + string.digits + string.punctuation,
        split_digits=True,
        byte_fallback=byte_fallback,
        pad_id=PAD,
        eos_id=EOS,
        unk_id=UNK,
        bos_id=-1,
        num_threads=2,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    temporary.write_bytes(_add_marks(trained.getvalue(), [SPACE + mark for mark in marks]))
    return temporary.replace(path)


def _add_marks(model: bytes, marks: Sequence[str]) -> bytes:
    """Replaces the least likely pieces by marks that are no pieces yet.

    A mark is a plain piece, not a symbol of the user's: those are cut out of the text before
    anything else, which would separate them from the space before them.
    """
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    known = {piece.piece for piece in proto.pieces}
    plain = [piece for piece in proto.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1]
    plain.sort(key=lambda piece: piece.score)
    for mark, piece in zip([mark for mark in marks if mark not in known], plain, strict=False):
        piece.piece, piece.score = mark, MARK_SCORE
    serialised: bytes = proto.SerializeToString()
    return serialised


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
