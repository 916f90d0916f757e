"""Runs CTranslate2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import ctranslate2

from t5bench.engine import Generated


class CTranslate2:
    """A model in a directory that ct2-transformers-converter wrote."""

    def __init__(self, path: str, threads: int, compute_type: str) -> None:
        self._translator = ctranslate2.Translator(
            path, device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
        vocabulary = Path(path, "shared_vocabulary.json").read_text(encoding="utf-8")
        self._pieces: list[str] = json.loads(vocabulary)
        self._ids = {piece: index for index, piece in enumerate(self._pieces)}

    def generate(self, ids: Sequence[int], tokens: int, *, fixed: bool) -> Generated:
        """See `Engine`."""
        (result,) = self._translator.translate_batch(
            [[self._pieces[token] for token in ids]],
            beam_size=1,
            min_decoding_length=tokens if fixed else 1,
            max_decoding_length=tokens,
        )
        return Generated([self._ids[piece] for piece in result.hypotheses[0]])
