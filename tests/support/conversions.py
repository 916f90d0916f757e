"""Files that were converted from tiny checkpoints, and files with deliberate faults."""

import dataclasses
from pathlib import Path

import numpy as np

from support import conversing, listed, reranked, tiny
from t5engine.reader import GGUFFile
from t5engine.relevance import Relevance
from t5gguf.convert import ConvertedFile, Converter
from t5gguf.quantize import POLICIES
from t5gguf.tasks import QUERY, Task
from t5gguf.writer import PlannedTensor, Provenance, write_file

QUERIES = ["how to cook rice", "best hiking boots for wide feet 2024"]
PROVENANCE = Provenance(
    name="tiny",
    repo="owner/tiny",
    revision="abc123",
    license="Apache-2.0",
    tasks={
        "reformulate": Task.of_prefix("rewrite: "),
        "paraphrase": Task.of_prefix("say it otherwise: "),
    },
    generation={"max_tokens": 24, "strategy": "sample", "temperature": 0.5},
)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A flavour's checkpoint, the GGUF file of it, and that file's contents."""

    directory: Path
    written: ConvertedFile
    file: GGUFFile

    def values(self, name: str) -> tiny.Float32:
        """A tensor's values in the tensor's shape; these files hold F32 only."""
        stored = self.file.tensors[name]
        return stored.read_rows().reshape(stored.shape)

    def metadata(self, key: str) -> object:
        value: object = self.file.metadata[key]
        return value


def write_unverified(
    path: Path, directory: Path, file_type: str, *, without: str = ""
) -> list[PlannedTensor]:
    """Writes a file without verifying it, and leaves out the tensor `without`.

    Returns the plan of the whole file.
    """
    converter = Converter(directory, PROVENANCE, QUERIES)
    planned = converter.plan(file_type)
    write_file(
        path,
        converter.checkpoint,
        converter.vocabulary,
        [tensor for tensor in planned if tensor.entry.name != without],
        POLICIES[file_type],
        PROVENANCE,
        max_ffn_down_input=converter.max_ffn_down_input,
        progress=False,
    )
    return planned


def overwrite_rows(path: Path, name: str, rows: slice, values: tiny.Float32) -> None:
    """Overwrites some rows of an F32 tensor in a file."""
    stored = GGUFFile.open(path).tensors[name]
    np.memmap(path, "<f4", "r+", stored.offset, stored.shape)[rows] = values


def convert_lists(directory: Path, file_type: str = "F16", separator: str | None = None) -> Path:
    """Writes the GGUF file of the model whose answers are lists, and returns its path."""
    task = Task(
        template=listed.PREFIX + QUERY,
        separator=listed.SEPARATOR if separator is None else separator,
        n=listed.N,
    )
    provenance = Provenance("listed", tasks={"search": task})
    converter = Converter(listed.build(directory / "source"), provenance, list(listed.PAIRS)[:2])
    return converter.convert(directory / "listed.gguf", file_type, progress=False).path


CONVERSING_TASKS = {
    "rewrite": Task.of_prefix("rewrite: "),
    "standalone": Task(template="{history} ||| {query}", join=conversing.JOIN, truncate="left"),
    "doc2query": Task(template="{document}", truncate="document", n=3),
    "title": Task(template="Document: {document} Title:", truncate="document"),
    "refusing": Task(template="{history}{query}", join="\n"),
}


def convert_conversing(directory: Path) -> Path:
    """Writes the GGUF file of the model that takes turns and documents, and returns its path."""
    defaults: dict[str, int | float | str] = {"max_tokens": 24}
    provenance = Provenance("conversing", tasks=CONVERSING_TASKS, generation=defaults)
    converter = Converter(conversing.build(directory / "source"), provenance, QUERIES)
    return converter.convert(directory / "conversing.gguf", "F32", progress=False).path


def convert_reranker(directory: Path, file_type: str = "F32") -> Path:
    """Writes the GGUF file of the model that reranks, and returns its path."""
    provenance = Provenance("reranked", rerank=reranked_relevance())
    converter = Converter(reranked.build(directory / "source"), provenance, QUERIES)
    out = directory / f"reranked-{file_type}.gguf"
    return converter.convert(out, file_type, progress=False).path


def reranked_relevance() -> Relevance:
    """Returns how that model judges a document."""
    return Relevance(reranked.TEMPLATE, reranked.POSITIVE, reranked.NEGATIVE)
