"""From a checkpoint directory to verified GGUF files: load, match, write, verify, rename."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from operator import add
from pathlib import Path

from gguf import GGMLQuantizationType as Type

from t5gguf import feedback, imatrix
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import ConversionError
from t5gguf.moments import Moments, measure
from t5gguf.quantize import POLICIES, Policy, tensor_type
from t5gguf.reference import Reference
from t5gguf.tensor_map import Entry, Role, match
from t5gguf.trimming import Loss, loss, trim
from t5gguf.verify import MAX_INPUT_TOKENS, Figures, Sample, sample, verify
from t5gguf.vocab import Vocabulary
from t5gguf.writer import PlannedTensor, Provenance, padded_rows, write

METADATA_ROOM = 16 << 20  # bytes that header and vocabulary may take besides the tensors
QUERIES = Path(__file__).parent / "queries.txt"
CALIBRATION = Path(__file__).parent / "calibration.txt"  # none of the above


@dataclass(frozen=True)
class Written:
    """A file that was written and verified."""

    path: Path
    size: int
    figures: Figures
    tensors: Sequence[PlannedTensor]


class Converter:
    """One checkpoint, loaded once, for as many files as are wanted of it.

    Args:
        directory: the checkpoint, in Hugging Face's layout.
        provenance: what the files will say of their source.
        queries: real inputs, to find the range of activations and to compare logits over.
        calibration: others, over which the coarser types are calibrated; by default 200 that are
            included, and an empty sequence for plain rounding.
        domain: a text file, a line for each query or answer; only the rows of the vocabulary that
            it uses are kept.

    Raises:
        ConversionError: lists what is wrong with the checkpoint, or there is no text.
    """

    def __init__(
        self,
        directory: Path,
        provenance: Provenance,
        queries: Sequence[str] = (),
        calibration: Sequence[str] | None = None,
        domain: Path | None = None,
    ) -> None:
        checkpoint = Checkpoint.open(directory)
        self._entries = match(checkpoint)
        rows = padded_rows(checkpoint.config.vocab_size)
        vocabulary = Vocabulary.load(directory, checkpoint.config, rows)
        self.checkpoint, self.vocabulary = checkpoint, vocabulary
        if domain:
            prefixes = provenance.tasks.values()
            self.checkpoint, self.vocabulary = trim(checkpoint, vocabulary, domain, prefixes)
            self._entries = match(self.checkpoint)
        self.provenance = provenance
        self._rows = padded_rows(self.checkpoint.config.vocab_size)
        reference = Reference(self.checkpoint)
        prefix = next(iter(provenance.tasks.values()), "")
        texts = queries or _lines(QUERIES)
        self._samples: list[Sample] = sample(
            reference, self.vocabulary, [prefix + text for text in texts]
        )
        self.max_ffn_down_input = reference.max_ffn_down_input
        del reference  # all of the weights, in F32
        self.loss: Loss | None = None
        if self.vocabulary.trimming:
            whole = Reference(checkpoint)
            self.loss = loss(whole, vocabulary, self.vocabulary.trimming, self._samples)
        self._calibration = _lines(CALIBRATION) if calibration is None else calibration
        self._moments: Moments | None = None

    def plan(self, file_type: str, types: Mapping[Role, Type] | None = None) -> list[PlannedTensor]:
        """Type and shape of every tensor in a file of that type, but for other types by role.

        Raises:
            ConversionError: no such type.
        """
        if file_type not in POLICIES:
            raise ConversionError(f"type {file_type!r} is not one of {', '.join(POLICIES)}")
        return [self._planned(entry, POLICIES[file_type], types) for entry in self._entries]

    def convert(
        self,
        out: Path,
        file_type: str,
        *,
        force: bool = False,
        types: Mapping[Role, Type] | None = None,
        progress: bool = True,
    ) -> Written:
        """Writes and verifies one file; `out` appears only when it is right.

        Raises:
            ConversionError: `out` exists and not `force`, no disk space, values that don't fit.
            VerificationError: the written file is not what it should be.
        """
        _refuse(out, force=force)
        planned = self.plan(file_type, types)
        size = sum(tensor.nbytes for tensor in planned) + METADATA_ROOM
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < size:
            raise ConversionError(f"{out.parent} has {free:,} bytes free, {size:,} are needed")
        wanted = self._calibration and any(tensor.kind in feedback.TYPES for tensor in planned)
        moments = self.moments(progress=progress) if wanted else None
        part = out.with_name(f".{out.name}.part")
        try:
            write(
                part,
                self.checkpoint,
                self.vocabulary,
                planned,
                POLICIES[file_type],
                self.provenance,
                max_ffn_down_input=self.max_ffn_down_input,
                moments=moments,
                progress=progress,
            )
            figures = verify(part, self.checkpoint, self.vocabulary, planned, self._samples)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
        return Written(out, out.stat().st_size, figures, planned)

    def moments(self, *, progress: bool = True) -> Moments:
        """The second moments of every matrix's inputs, measured when they are first wanted.

        Each task's prefix in turn stands before the calibration queries.

        Raises:
            ConversionError: there are no calibration queries.
        """
        if not self._calibration:
            raise ConversionError("there are no queries to calibrate with")
        if self._moments is None:
            prefixes = cycle(self.provenance.tasks.values() or [""])
            texts = map(add, prefixes, self._calibration)
            encoded = [self.vocabulary.encode(text)[-MAX_INPUT_TOKENS:] for text in texts]
            suppressed = self.vocabulary.suppressed(self.checkpoint.config.vocab_size)
            reference = Reference(self.checkpoint)
            self._moments = measure(reference, encoded, suppressed, progress=progress)
        return self._moments

    def write_imatrix(self, out: Path, *, force: bool = False, progress: bool = True) -> None:
        """Writes the same queries' importance matrix for llama.cpp's quantiser.

        Raises:
            ConversionError: `out` exists and not `force`, or there are no calibration queries.
        """
        _refuse(out, force=force)
        imatrix.write(out, self._entries, self.moments(progress=progress))

    def _planned(
        self, entry: Entry, policy: Policy, types: Mapping[Role, Type] | None
    ) -> PlannedTensor:
        kind = tensor_type(
            entry,
            policy,
            self.checkpoint.config,
            max_ffn_down_input=self.max_ffn_down_input,
            types=types,
        )
        shape = entry.shape
        if entry.role in (Role.EMBEDDING, Role.HEAD):
            shape = (self._rows, shape[1])
        return PlannedTensor(entry, kind, shape)


def _refuse(out: Path, *, force: bool) -> None:
    if out.is_dir():
        raise ConversionError(f"{out} is a directory")
    if out.exists() and not force:
        raise ConversionError(f"{out} exists; --force overwrites it")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
