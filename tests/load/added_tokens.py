"""Greedy answers of a T5 with added tokens, in each type, against transformers' 500.

`python tests/load/added_tokens.py` converts the taught T5 to every type, decodes all prompts of
tests/golden/added_tokens.json, and prints how many answers are transformers'. Others may differ
only where transformers' two best logits are closer than twice the conversion's largest error. A
short form is among the integration tests.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run as a command

from support import taught
from support.parity import golden, with_model
from t5engine.decoding.parameters import GenerationConfig
from t5engine.pool.engine import Engine
from t5engine.pool.result import Result
from t5gguf.convert import Converter
from t5gguf.quantize import POLICIES
from t5gguf.writer import Provenance

CONFIG = GenerationConfig(max_tokens=24)
EOS = 1


@dataclass(frozen=True)
class Agreement:
    """How the answers of one type compare with transformers'.

    Attributes:
        prompts: how many answers there are.
        same_tokens: how many have transformers' token ids.
        same_texts: how many have transformers' text.
        near: how many differ at a near-tie.
        far: the prompts whose answers differ elsewhere.
        largest_error: the conversion's largest logit error, in standard deviations.
    """

    prompts: int
    same_tokens: int
    same_texts: int
    near: int
    far: list[str]
    largest_error: float


def measure(directory: Path, file_type: str, cases: Sequence[dict[str, Any]]) -> Agreement:
    """Converts the taught T5 to a type, and compares its answers."""
    converter = Converter(taught.build("fast", directory), Provenance("taught"), [*taught.PAIRS])
    converted = converter.convert(directory / f"{file_type}.gguf", file_type, progress=False)

    async def answer(engine: Engine) -> list[Result]:
        jobs = [engine.generate(CONFIG, text=case["prompt"], timeout=300) for case in cases]
        return list(await asyncio.gather(*jobs))

    results = with_model(converted.path, answer, max_queue=len(cases))
    answers = [result.generated.best for result in results]
    different = [
        case
        for case, answer in zip(cases, answers, strict=True)
        if answer.tokens != [token for token in case["ids"] if token != EOS]
    ]
    margin = 2 * converted.comparison.maximum
    far = [case["prompt"] for case in different if case["gap"] > margin]
    return Agreement(
        prompts=len(cases),
        same_tokens=len(cases) - len(different),
        same_texts=sum(a.text == case["text"] for a, case in zip(answers, cases, strict=True)),
        near=len(different) - len(far),
        far=far,
        largest_error=converted.comparison.maximum,
    )


def main() -> int:
    """Prints a line per type; returns 1 if an answer differs without a near-tie."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("types", nargs="*", default=list(POLICIES), help="all, unless named")
    options = parser.parse_args()
    cases = golden("added_tokens")["prompts"]
    is_wrong = False
    for file_type in options.types:
        with tempfile.TemporaryDirectory() as name:
            agreement = measure(Path(name), file_type, cases)
        print(
            f"{file_type:7} {agreement.same_tokens} of {agreement.prompts} have transformers' "
            f"tokens, {agreement.same_texts} its text; {agreement.near} differ at near-ties, "
            f"{len(agreement.far)} elsewhere; largest error {agreement.largest_error:.2g}"
        )
        is_wrong |= bool(agreement.far)
    return 1 if is_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
