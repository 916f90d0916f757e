"""The files of one shape in every engine's format, made once and kept."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from t5bench import environment, shapes
from t5bench.errors import BenchError
from t5engine.relevance import Relevance
from t5gguf.config import Config
from t5gguf.convert import QUERIES, Converter
from t5gguf.tasks import Task
from t5gguf.vocab import Vocabulary
from t5gguf.writer import Provenance

RELEVANCE = Relevance("Query: {query} Document: {document} Relevant:", "\u2581true", "\u2581false")
EXPORT = ("-m", "optimum.commands.optimum_cli", "export", "onnx")
QUANTISE = ("-m", "optimum.commands.optimum_cli", "onnxruntime", "quantize")
OPENVINO = ("-m", "optimum.commands.optimum_cli", "export", "openvino")
OPENVINO_FORMATS: dict[str, tuple[str, ...]] = {
    "fp32": ("--weight-format", "fp32"),
    "int8-sym": ("--weight-format", "int8", "--sym"),
    "int8-asym": ("--weight-format", "int8"),
    "int4-sym": ("--weight-format", "int4", "--sym", "--group-size", "128"),
    "int4-sym-all": ("--weight-format", "int4", "--sym", "--group-size", "128", "--all-layers"),
}
"""The weights' formats in OpenVINO's files. `all`: the embedding and the head are not int8."""
VERIFY_QUERIES = 4  # to verify random weights with: the reference is slow
CTRANSLATE2 = ("-m", "ctranslate2.converters.transformers")


@dataclass(frozen=True)
class Files:
    """One shape's directory.

    Attributes:
        directory: The directory of the files.
        checkpoint: The checkpoint, in Hugging Face's layout.
        is_random: Whether the weights are random. Then answers never end with `</s>`, and the
            coarser GGUF types are not calibrated, to save time.
    """

    directory: Path
    checkpoint: Path
    is_random: bool

    @classmethod
    def from_shape(cls, name: str, work: Path, tokenizer: Path) -> Files:
        """Returns the files of a shape with seeded random weights."""
        checkpoint = work / name / "checkpoint"
        _make(checkpoint, lambda out: shapes.write_checkpoint(shapes.SHAPES[name], tokenizer, out))
        return cls(work / name, checkpoint, is_random=True)

    @classmethod
    def from_checkpoint(cls, name: str, work: Path, checkpoint: Path) -> Files:
        """Returns the files of an existing checkpoint.

        Raises:
            BenchError: The directory has files of another checkpoint.
        """
        source = work / name / "source.txt"
        source.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file() and source.read_text(encoding="utf-8") != str(checkpoint.resolve()):
            raise BenchError(f"{source.parent} has files of another checkpoint: see {source}")
        source.write_text(str(checkpoint.resolve()), encoding="utf-8")
        return cls(work / name, checkpoint, is_random=False)

    @cached_property
    def config(self) -> Config:
        """The checkpoint's config.json."""
        return Config.load(self.checkpoint)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The checkpoint's vocabulary."""
        return Vocabulary.load(self.checkpoint, self.config, self.config.vocab_size)

    def gguf_path(self, file_type: str) -> Path:
        """Returns the path of the GGUF file of a type."""
        return self.directory / f"{file_type}.gguf"

    def read_figures(self, file_type: str) -> dict[str, float]:
        """Returns the logit errors that t5gguf measured; see `t5gguf.verify.LogitComparison`."""
        text = self.gguf_path(file_type).with_suffix(".json").read_text(encoding="utf-8")
        figures: dict[str, float] = json.loads(text)
        return figures

    def make_gguf(self, file_types: Sequence[str], prefix: str) -> None:
        """Converts and verifies the missing files of these types."""
        missing = [name for name in file_types if not self.gguf_path(name).is_file()]
        if not missing:
            return
        provenance = Provenance(self.directory.name, tasks={"query": Task.of_prefix(prefix)})
        queries = QUERIES.read_text(encoding="utf-8").splitlines()
        converter = (
            Converter(self.checkpoint, provenance, queries[:VERIFY_QUERIES], calibration=())
            if self.is_random
            else Converter(self.checkpoint, provenance, queries)
        )
        for file_type in missing:
            path = self.gguf_path(file_type)
            print(f"{path}: making it", flush=True)
            written = converter.convert(path, file_type, progress=False)
            figures = json.dumps(asdict(written.comparison))
            path.with_suffix(".json").write_text(figures, encoding="utf-8")

    def make_reranker(self, file_type: str) -> Path:
        """Returns a GGUF file that says how the model reranks, with two common words as tokens."""
        path = self.directory / f"rerank-{file_type}.gguf"
        if not path.is_file():
            print(f"{path}: making it", flush=True)
            provenance = Provenance(self.directory.name, tasks={"query": Task()}, rerank=RELEVANCE)
            queries = QUERIES.read_text(encoding="utf-8").splitlines()[:VERIFY_QUERIES]
            converter = Converter(self.checkpoint, provenance, queries, calibration=())
            converter.convert(path, file_type, progress=False)
        return path

    def make_ctranslate2(self, python: str) -> Path:
        """Returns the int8 files of CTranslate2's converter."""
        return self._make_once(
            "ctranslate2",
            lambda out: _run(
                python,
                *CTRANSLATE2,
                *("--model", self.checkpoint, "--output_dir", out, "--quantization", "int8"),
            ),
        )

    def make_onnx(self, python: str) -> Path:
        """Returns the fp32 files that optimum exports."""
        return self._make_once(
            "onnx",
            lambda out: _run(
                python,
                *EXPORT,
                *("--model", self.checkpoint, "--task", "text2text-generation-with-past", out),
            ),
        )

    def make_onnx_int8(self, python: str, *, per_channel: bool = False) -> Path:
        """Returns the files that optimum quantises dynamically for VNNI."""
        source = self.make_onnx(python)
        options = ["--avx512_vnni", *(["--per_channel"] if per_channel else [])]
        return self._make_once(
            "onnx-int8-per-channel" if per_channel else "onnx-int8",
            lambda out: _run(python, *QUANTISE, "--onnx_model", source, *options, "-o", out),
        )

    def make_openvino(self, python: str, form: str) -> Path:
        """Returns the files that optimum exports in a format, a key of `OPENVINO_FORMATS`.

        The decoder takes and returns its caches. With state within the decoder, optimum-intel 2.2
        fails at T5's first step.
        """
        options = OPENVINO_FORMATS[form]
        if "--group-size" in options:  # which must divide a matrix's columns
            options = (*options, "--group-size-fallback", "adjust")
        return self._make_once(
            f"openvino-{form}",
            lambda out: _run(
                python,
                *OPENVINO,
                *("--model", self.checkpoint, "--task", "text2text-generation-with-past"),
                *("--disable-stateful", "--disable-convert-tokenizer"),
                *options,
                out,
            ),
        )

    def _make_once(self, name: str, make: Callable[[Path], Any]) -> Path:
        path = self.directory / name
        _make(path, make)
        return path


def _make(path: Path, make: Callable[[Path], Any]) -> None:
    """Makes a directory under another name and renames it, so that it is complete or missing."""
    if path.is_dir():
        return
    print(f"{path}: making it", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    make(part)
    part.rename(path)


def _run(python: str, *arguments: str | Path) -> None:
    """Runs a converter's command with a Python interpreter, which must not reach out for files."""
    process = subprocess.run(
        [python, *map(str, arguments)],
        env=environment.extend_environment({"HF_HUB_OFFLINE": "1"}),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if process.returncode:
        raise BenchError(f"{' '.join(map(str, arguments[1:4]))} failed: {process.stdout[-2000:]}")
