"""From a checkpoint directory to verified GGUF files: load, match, write, verify, rename."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType

from t5engine.tokenization.marks import get_mark, has_mark
from t5gguf import error_feedback, imatrix
from t5gguf.checkpoint import Checkpoint
from t5gguf.errors import ConversionError
from t5gguf.quantize import POLICIES, Policy, label_file, select_tensor_type
from t5gguf.reference import Reference
from t5gguf.second_moments import SecondMoments, measure_moments
from t5gguf.tasks import Task
from t5gguf.tensor_map import Role, TensorEntry, match_tensors
from t5gguf.trimming import TrimmingLoss, measure_loss, trim
from t5gguf.verify import MAX_INPUT_TOKENS, LogitComparison, Sample, sample_queries, verify_file
from t5gguf.vocab import Vocabulary
from t5gguf.writer import PlannedTensor, Provenance, padded_rows, write_file

METADATA_BYTES = 16 << 20  # the most that header and vocabulary take besides the tensors
QUERIES = Path(__file__).parent / "queries.txt"
CALIBRATION = Path(__file__).parent / "calibration.txt"  # has none of the queries above


@dataclass(frozen=True)
class ConvertedFile:
    """A file that was written and verified.

    Attributes:
        path: the file's path.
        size: the file's bytes.
        comparison: the distance of the file's logits to the reference's.
        tensors: type and shape of each tensor.
        file_type: the type that was asked for, a key of `POLICIES`.
    """

    path: Path
    size: int
    comparison: LogitComparison
    tensors: Sequence[PlannedTensor]
    file_type: str


class Converter:
    """A checkpoint that is loaded once, and converted to any number of files.

    Args:
        directory: the checkpoint, in Hugging Face's layout.
        provenance: the files' metadata about their source and use.
        queries: real inputs, which measure the range of activations and the error of logits.
        calibration: other inputs, which calibrate the coarser types. The default is 200 queries
            that are included; an empty sequence means plain rounding.
        domain: a text file with a line for each query or answer. Only the rows of the vocabulary
            that this text uses are kept.

    Raises:
        ConversionError: the checkpoint has faults, which the message lists, the vocabulary lacks a
            task's separator or a token that reranking weighs, or `domain` has no text.
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
        self._entries = match_tensors(checkpoint)
        rows = padded_rows(checkpoint.config.vocab_size)
        vocabulary = Vocabulary.load(directory, checkpoint.config, rows)
        self.checkpoint, self.vocabulary = checkpoint, vocabulary
        if domain:
            tasks = provenance.tasks.values()
            self.checkpoint, self.vocabulary = trim(
                checkpoint, vocabulary, domain, tasks, _list_rerank_texts(provenance)
            )
            self._entries = match_tensors(self.checkpoint)
        _check_separators(self.vocabulary, provenance)
        _check_judged_tokens(self.vocabulary, provenance)
        self.provenance = provenance
        self._rows = padded_rows(self.checkpoint.config.vocab_size)
        reference = Reference(self.checkpoint)
        task = next(iter(provenance.tasks.values()), Task())
        texts = queries or _read_lines(QUERIES)
        self._samples: list[Sample] = sample_queries(
            reference, self.vocabulary, [task.render(text) for text in texts]
        )
        self.max_ffn_down_input = reference.max_ffn_down_input
        del reference  # frees all of the weights, in F32
        self.trimming_loss: TrimmingLoss | None = None
        if trimming := self.vocabulary.trimming:
            whole = Reference(checkpoint)
            self.trimming_loss = measure_loss(whole, vocabulary, trimming, self._samples)
        self._calibration = _read_lines(CALIBRATION) if calibration is None else calibration
        self._moments: SecondMoments | None = None

    def plan(
        self, file_type: str, role_types: Mapping[Role, Type] | None = None
    ) -> list[PlannedTensor]:
        """Returns type and shape of each tensor in a file of that type.

        Args:
            file_type: a key of `POLICIES`.
            role_types: types by role, which take precedence over the file type's policy.

        Raises:
            ConversionError: there is no such file type.
        """
        if file_type not in POLICIES:
            raise ConversionError(f"type {file_type!r} is not one of {', '.join(POLICIES)}")
        policy = POLICIES[file_type]
        return [self._plan_tensor(entry, policy, role_types) for entry in self._entries]

    def convert(
        self,
        out: Path,
        file_type: str,
        *,
        force: bool = False,
        types: Mapping[Role, Type] | None = None,
        progress: bool = True,
    ) -> ConvertedFile:
        """Writes and verifies one file; `out` appears only if the file is correct.

        Args:
            out: the file to write.
            file_type: a key of `POLICIES`.
            force: overwrite `out`.
            types: types by role, which take precedence over the file type's policy.
            progress: show progress bars.

        Raises:
            ConversionError: `out` exists and `force` is false, another process writes it, the disk
                is full, or a type can't hold the values.
            VerificationError: the written file differs from the checkpoint.
        """
        _check_overwrite(out, force=force)
        planned = self.plan(file_type, types)
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_disk_space(out.parent, planned)
        is_calibrated = any(tensor.tensor_type in error_feedback.TYPES for tensor in planned)
        moments = None
        if self._calibration and is_calibrated:
            moments = self.measure_moments(progress=progress)
        with _open_part(out) as part:
            write_file(
                part,
                self.checkpoint,
                self.vocabulary,
                planned,
                replace(POLICIES[file_type], file_type=label_plan(planned, file_type)),
                self.provenance,
                max_ffn_down_input=self.max_ffn_down_input,
                moments=moments,
                progress=progress,
            )
            comparison = verify_file(part, self.checkpoint, self.vocabulary, planned, self._samples)
            part.replace(out)
        return ConvertedFile(out, out.stat().st_size, comparison, planned, file_type)

    def measure_moments(self, *, progress: bool = True) -> SecondMoments:
        """Returns the second moments of each matrix's inputs, which the first call measures.

        The calibration queries fill the templates of the tasks in turn.

        Raises:
            ConversionError: there are no calibration queries.
        """
        if not self._calibration:
            raise ConversionError("there are no queries to calibrate with")
        if self._moments is None:
            tasks = cycle(self.provenance.tasks.values() or [Task()])
            texts = map(Task.render, tasks, self._calibration)
            queries = [self.vocabulary.encode(text)[-MAX_INPUT_TOKENS:] for text in texts]
            vocab_size = self.checkpoint.config.vocab_size
            suppressed_ids = self.vocabulary.select_suppressed_ids(vocab_size)
            reference = Reference(self.checkpoint)
            self._moments = measure_moments(reference, queries, suppressed_ids, progress=progress)
        return self._moments

    def write_imatrix(self, out: Path, *, force: bool = False, progress: bool = True) -> None:
        """Writes an importance matrix of the calibration queries for llama.cpp's quantiser.

        Raises:
            ConversionError: `out` exists and `force` is false, or there are no calibration
                queries.
        """
        _check_overwrite(out, force=force)
        imatrix.write(out, self._entries, self.measure_moments(progress=progress))

    def _plan_tensor(
        self, entry: TensorEntry, policy: Policy, role_types: Mapping[Role, Type] | None
    ) -> PlannedTensor:
        tensor_type = select_tensor_type(
            entry,
            policy,
            self.checkpoint.config,
            max_ffn_down_input=self.max_ffn_down_input,
            role_types=role_types,
        )
        shape = entry.shape
        if entry.role in (Role.EMBEDDING, Role.HEAD):
            shape = (self._rows, shape[1])
        return PlannedTensor(entry, tensor_type, shape)


def label_plan(planned: Sequence[PlannedTensor], file_type: str) -> LlamaFileType:
    """Returns the file type that says what is in a file that is planned."""
    roles = (Role.ATTENTION, Role.FFN, Role.FFN_DOWN)
    types = [tensor.tensor_type for tensor in planned if tensor.entry.role in roles]
    return label_file(POLICIES[file_type], types)


def _check_separators(vocabulary: Vocabulary, provenance: Provenance) -> None:
    pieces = vocabulary.select_shown_pieces()
    missing = [
        f"task {name} has the separator {separator!r}, but no piece of the vocabulary is"
        f" {get_mark(separator)!r}: name another one, or add it as a token before training"
        for name, task in provenance.tasks.items()
        if (separator := task.separator) and not has_mark(pieces, separator)
    ]
    if missing:
        raise ConversionError("\n".join(missing))


def _check_judged_tokens(vocabulary: Vocabulary, provenance: Provenance) -> None:
    tokens = [] if provenance.rerank is None else provenance.rerank.tokens
    missing = [token for token in tokens if token not in vocabulary.tokens]
    if missing:
        raise ConversionError(
            f"reranking weighs the token {missing[0]!r}, which the vocabulary lacks: name a piece"
            " as the vocabulary has it, such as '\u2581true'"
        )


def _list_rerank_texts(provenance: Provenance) -> list[str]:
    """Returns texts that have the pieces of the template and of both tokens."""
    if provenance.rerank is None:
        return []
    relevance = provenance.rerank
    text, _ = relevance.render(" ", " ")
    return [text, *(token.replace("\u2581", " ") + " " for token in relevance.tokens)]


def _check_overwrite(out: Path, *, force: bool) -> None:
    if out.is_dir():
        raise ConversionError(f"{out} is a directory")
    if out.exists() and not force:
        raise ConversionError(f"{out} exists; --force overwrites it")


@contextmanager
def _open_part(out: Path) -> Iterator[Path]:
    """Yields the path of an unfinished file beside `out`, which is removed at the end.

    Raises:
        ConversionError: another process writes the same file.
    """
    part = out.with_name(f".{out.name}.part")
    with part.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConversionError(f"another process is writing {out}: wait for it") from None
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


def _check_disk_space(directory: Path, planned: Sequence[PlannedTensor]) -> None:
    required = sum(tensor.nbytes for tensor in planned) + METADATA_BYTES
    free = shutil.disk_usage(directory).free
    if free < required:
        raise ConversionError(f"{directory} has {free:,} bytes free, {required:,} are needed")


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
