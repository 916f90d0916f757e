"""Compares what the engine computes with what transformers computed.

Equality: logits differ by at most so much of their standard deviation; token sequences are the
same, except where the reference's two best logits are closer than twice the measured error.

Run as a command, it compares a GGUF file of the embedded checkpoint with the golden file:
`python tests/support/parity.py FILE.gguf`; with `--golden FILE` another one of the same form, and
with `--questions FILE` the token ids of other texts, given as JSON lines of {"text", "ids"}.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from t5engine.config import KernelsName, WorkerConfig
from t5engine.cpus import plan
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine

GREEDY = GenerationConfig(max_tokens=48)
GOLDEN = Path(__file__).parents[1] / "golden"
Logits = npt.NDArray[np.float32]
Answer = TypeVar("Answer")


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def golden_logits(case: dict[str, Any]) -> Logits:
    """The logits of one case of logits.json, (decoder inputs, vocabulary)."""
    return np.frombuffer(base64.b64decode(case["logits"]), "<f4").reshape(case["shape"])


def with_model(
    path: Path,
    use: Callable[[Engine], Awaitable[Answer]],
    *,
    backend: str = "auto",
    logit_scale: float | None = None,
    max_queue: int = 1,
    kernels: KernelsName = "auto",
) -> Answer:
    """Loads a file in a real worker, and runs a coroutine on its engine."""

    async def run() -> Answer:
        share = plan(1, None)[0]
        config = WorkerConfig(
            str(path),
            share.threads,
            list(share.cpus),
            512,
            logit_scale=logit_scale,
            backend=backend,  # type: ignore[arg-type]
            kernels=kernels,
        )
        async with Engine([config], max_queue=max_queue) as engine:
            return await use(engine)

    return asyncio.run(run())


def logit_error(reference: Logits, logits: Logits) -> float:
    """Largest |difference| over the reference's standard deviation."""
    return float(np.abs(reference - logits[:, : reference.shape[1]]).max() / reference.std())


class Agreement:
    """How many greedy outputs are the reference's, and which are not."""

    def __init__(self) -> None:
        self.total = 0
        self.different: list[tuple[str, str, str, float]] = []
        self.token_mismatches: list[str] = []

    @property
    def share(self) -> float:
        return 1 - len(self.different) / self.total


async def agreement(engine: Engine, cases: Sequence[dict[str, Any]]) -> Agreement:
    """Greedy outputs and prompt ids over the golden cases."""
    found = Agreement()
    for case in cases:
        found.total += 1
        if (await engine.tokenize(case["query"])).ids != case["prompt_ids"]:
            found.token_mismatches.append(case["query"])
        result = await engine.generate(GREEDY, ids=case["prompt_ids"], timeout=60)
        tokens = [token for token in case["ids"] if token != 1]
        if result.generated.best.tokens != tokens:
            found.different.append(
                (case["query"], case["text"], result.generated.best.text, case["gap"])
            )
    return found


def main() -> None:
    """Prints the figures of one file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--golden", type=Path, default=GOLDEN / "embedded.json")
    parser.add_argument("--questions", type=Path, help="JSON lines of {text, ids}")
    options = parser.parse_args()

    cases = json.loads(options.golden.read_text(encoding="utf-8"))["cases"]

    async def use(engine: Engine) -> None:
        if options.questions is None:
            found = await agreement(engine, cases)
            print(
                f"greedy identical {found.total - len(found.different)}/{found.total} "
                f"({found.share:.1%}), prompt ids different: {len(found.token_mismatches)}"
            )
            for query, expected, text, gap in found.different:
                print(f"  {query!r}: {expected!r} became {text!r} (smallest gap {gap:.4f})")
            return
        total = different = 0
        for line in options.questions.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            total += 1
            ids = (await engine.tokenize(case["text"])).ids
            if ids != case["ids"]:
                different += 1
                print(f"  {case['text']!r}\n    expected {case['ids']}\n    got      {ids}")
        print(f"token ids identical {total - different}/{total}")

    with_model(options.file, use)


if __name__ == "__main__":
    main()
