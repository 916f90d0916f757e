"""Compares the greedy texts of each kernel: only nearly tied tokens may differ.

`python tests/load/kernel_texts.py` decodes the 200 queries of tests/golden/embedded.json with the
included model; `--model FILE.gguf` with another one, and `--queries FILE` others, one per line. The
first kernels are the reference. Each difference is printed with the gap between the reference's two
best logits at the first token that differs.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from tqdm import tqdm

from t5engine.config import KernelsName
from t5gguf import recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "embedded.json"


@dataclass(frozen=True)
class Decoded:
    """A greedy sequence.

    Attributes:
        tokens: ids, `</s>` included.
        gaps: of each token, its logit less the next best one.
    """

    tokens: list[int]
    gaps: list[float]


@dataclass(frozen=True)
class Difference:
    """A text that one of the kernels decodes differently.

    Attributes:
        gap: between the reference's two best logits where the sequences part.
    """

    query: str
    kernels: str
    reference: str
    other: str
    gap: float


def find_differences(
    model: Path, queries: Sequence[str], kernels: Sequence[KernelsName], max_tokens: int = 48
) -> list[Difference]:
    """Decodes all queries with all kernels; returns what differs from the first ones."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from t5engine.worker.model import Model, load_model

    def decode(loaded: Model, query: str) -> Decoded:
        backend, vocabulary = loaded.backend, loaded.vocabulary
        backend.encode(0, vocabulary.encode(query))
        tokens: list[int] = []
        gaps: list[float] = []
        while len(tokens) < max_tokens and tokens[-1:] != [vocabulary.eos]:
            logits = backend.step([0], [tokens[-1] if tokens else loaded.start_token])[0].copy()
            logits[vocabulary.suppressed] = -np.inf
            second, first = np.partition(logits, -2)[-2:]
            tokens.append(int(logits.argmax()))
            gaps.append(float(first - second))
        backend.release(0)
        return Decoded(tokens, gaps)

    models = {
        name: load_model(
            model,
            threads=1,
            max_input_tokens=512,
            max_tokens=max_tokens,
            logit_scale=None,
            backend="graph",
            rows=1,
            kernels=name,
        )
        for name in kernels
    }
    reference, *others = models
    differences = []
    for query in tqdm(queries, unit="query", disable=None):
        expected = decode(models[reference], query)
        for name in others:
            found = decode(models[name], query)
            if found.tokens == expected.tokens:
                continue
            pairs = zip(expected.tokens, found.tokens, strict=False)
            place = next(i for i, (a, b) in enumerate(pairs) if a != b)
            differences.append(
                Difference(
                    query,
                    name,
                    reference=models[reference].vocabulary.decode(expected.tokens),
                    other=models[name].vocabulary.decode(found.tokens),
                    gap=expected.gaps[place],
                )
            )
    return differences


def list_kernels() -> list[KernelsName]:
    """Returns all kernels that this processor has, ggml's last."""
    from t5engine.kernels.loader import Kernels

    names: Sequence[KernelsName] = get_args(KernelsName)
    own = [name for name in names if name not in ("auto", "ggml") and Kernels.find(name)]
    return [*own[::-1], "ggml"]


def main() -> None:
    """Prints the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=recipe.load("tiny-t5").model_path())
    parser.add_argument("--queries", type=Path, help="a query a line, with its prefix")
    parser.add_argument("--kernels", nargs="+", choices=get_args(KernelsName))
    options = parser.parse_args()
    if options.queries is None:
        queries = [case["query"] for case in json.loads(GOLDEN.read_text())["cases"]]
    else:
        queries = options.queries.read_text(encoding="utf-8").splitlines()
    kernels = options.kernels or list_kernels()
    differences = find_differences(options.model, queries, kernels)
    for one in differences:
        print(f"{one.kernels}: {one.query!r}: {one.reference!r} became {one.other!r}")
        print(f"    the reference's best logit leads by {one.gap:.4f}")
    pairs = len(queries) * (len(kernels) - 1)
    print(f"{', '.join(kernels)}: {len(differences)} of {pairs} texts differ from {kernels[0]}'s")


if __name__ == "__main__":
    main()
