"""The files of one shape in every contestant's format, made once and kept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from t5bench import environment, shapes
from t5bench.errors import BenchError
from t5gguf.config import Config
from t5gguf.convert import QUERIES, Converter
from t5gguf.vocab import Vocabulary
from t5gguf.writer import Provenance

EXPORT = ("-m", "optimum.commands.optimum_cli", "export", "onnx")
QUANTISE = ("-m", "optimum.commands.optimum_cli", "onnxruntime", "quantize")
FEW = 4  # queries to verify random weights with: the reference is slow
CTRANSLATE2 = ("-m", "ctranslate2.converters.transformers")


@dataclass(frozen=True)
class Files:
    """One shape's directory.

    Attributes:
        directory: what is made goes here.
        checkpoint: in Hugging Face's layout.
        endless: random weights, so that answers never end by themselves, and calibrating the
            coarser GGUF types is not worth its time.
    """

    directory: Path
    checkpoint: Path
    endless: bool

    @classmethod
    def of_shape(cls, name: str, work: Path, tokenizer: Path) -> Files:
        """Of seeded random weights."""
        checkpoint = work / name / "checkpoint"
        _make(checkpoint, lambda out: shapes.write(shapes.SHAPES[name], tokenizer, out))
        return cls(work / name, checkpoint, endless=True)

    @classmethod
    def of_checkpoint(cls, name: str, work: Path, checkpoint: Path) -> Files:
        """Of a checkpoint that is there.

        Raises:
            BenchError: files of another one are there already.
        """
        source = work / name / "source.txt"
        source.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file() and source.read_text(encoding="utf-8") != str(checkpoint.resolve()):
            raise BenchError(f"{source.parent} has files of another checkpoint: see {source}")
        source.write_text(str(checkpoint.resolve()), encoding="utf-8")
        return cls(work / name, checkpoint, endless=False)

    @cached_property
    def config(self) -> Config:
        """Its config.json."""
        return Config.load(self.checkpoint)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its vocabulary."""
        return Vocabulary.load(self.checkpoint, self.config, self.config.vocab_size)

    def gguf(self, kind: str) -> Path:
        """The GGUF file of a type."""
        return self.directory / f"{kind}.gguf"

    def figures(self, kind: str) -> dict[str, float]:
        """How far its logits are off, as t5gguf verified it; see `t5gguf.verify`."""
        text = self.gguf(kind).with_suffix(".json").read_text(encoding="utf-8")
        found: dict[str, float] = json.loads(text)
        return found

    def make_gguf(self, kinds: Sequence[str], prefix: str) -> None:
        """Converts and verifies what is missing of these types."""
        missing = [kind for kind in kinds if not self.gguf(kind).is_file()]
        if not missing:
            return
        provenance = Provenance(self.directory.name, tasks={"query": prefix})
        queries = QUERIES.read_text(encoding="utf-8").splitlines()
        converter = (
            Converter(self.checkpoint, provenance, queries[:FEW], calibration=())
            if self.endless
            else Converter(self.checkpoint, provenance, queries)
        )
        for kind in missing:
            print(f"{self.gguf(kind)}: making it", flush=True)
            written = converter.convert(self.gguf(kind), kind, progress=False)
            figures = json.dumps(asdict(written.comparison))
            self.gguf(kind).with_suffix(".json").write_text(figures, encoding="utf-8")

    def ctranslate2(self) -> Path:
        """In int8, as its own converter writes it."""
        return self._made(
            "ctranslate2",
            lambda out: _run(
                *CTRANSLATE2,
                *("--model", self.checkpoint, "--output_dir", out, "--quantization", "int8"),
            ),
        )

    def onnx(self) -> Path:
        """In fp32, as optimum exports it."""
        return self._made(
            "onnx",
            lambda out: _run(
                *EXPORT,
                *("--model", self.checkpoint, "--task", "text2text-generation-with-past", out),
            ),
        )

    def onnx_int8(self, *, per_channel: bool = False) -> Path:
        """Quantised dynamically for VNNI, as optimum does it."""
        source = self.onnx()
        options = ["--avx512_vnni", *(["--per_channel"] if per_channel else [])]
        return self._made(
            "onnx-int8-per-channel" if per_channel else "onnx-int8",
            lambda out: _run(*QUANTISE, "--onnx_model", source, *options, "-o", out),
        )

    def _made(self, name: str, make: Callable[[Path], Any]) -> Path:
        path = self.directory / name
        _make(path, make)
        return path


def _make(path: Path, make: Callable[[Path], Any]) -> None:
    """Makes a directory beside its place and moves it there, so that it is whole or missing."""
    if path.is_dir():
        return
    print(f"{path}: making it", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    make(part)
    part.rename(path)


def _run(*arguments: str | Path) -> None:
    """A converter's own command line."""
    ran = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment.inherited({}),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        raise BenchError(f"{arguments[1]} failed: {ran.stdout[-2000:]}")
