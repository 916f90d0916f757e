"""Added tokens, from a checkpoint to an answer over HTTP, against transformers' golden file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from load import added_tokens
from support import taught
from support.parity import golden, with_model
from support.rewriting import rewrite
from support.serving import start, stop
from t5engine.decoding.parameters import GenerationConfig
from t5engine.header import open_checked
from t5engine.pool.engine import Engine
from t5engine.reader import GGUFFile
from t5engine.worker.model import _LoadedFile
from t5engine.worker.vocabulary import Vocabulary
from t5gguf.convert import ConvertedFile, Converter
from t5gguf.quantize import POLICIES
from t5gguf.writer import Provenance

GOLDEN = golden("added_tokens")
CONFIG = GenerationConfig(max_tokens=24)


def convert(kind: str, directory: Path, file_type: str = "F32") -> ConvertedFile:
    converter = Converter(taught.build(kind, directory), Provenance("taught"), list(taught.PAIRS))
    return converter.convert(directory / f"{file_type}.gguf", file_type, progress=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoint with each kind of tokenizer, converted."""
    root = tmp_path_factory.mktemp("taught")
    return {kind: convert(kind, root / kind).path for kind in taught.KINDS}


@pytest.mark.parametrize("kind", taught.KINDS)
def test_token_ids_are_those_of_transformers(files: dict[str, Path], kind: str) -> None:
    """Texts are split at added tokens as each kind of tokenizer does it.

    Except spaces at the beginning of a text without `legacy`: transformers' slow tokenizer, and
    no other, makes a piece of them.
    """
    cases = GOLDEN["tokenizers"][kind]
    expected = {
        case["text"]: case["ids"]
        for case in cases
        if kind != "not_legacy" or not case["text"].startswith(" ")
    }
    assert len(expected) > 25

    async def use(engine: Engine) -> dict[str, list[int]]:
        return {text: (await engine.tokenize(text)).ids for text in expected}

    assert with_model(files[kind], use) == expected


@pytest.mark.parametrize("kind", taught.KINDS)
def test_texts_of_ids_are_those_of_transformers(files: dict[str, Path], kind: str) -> None:
    """Added tokens are shown where they are not special, with spaces as each tokenizer has them.

    Sentinels are never generated, so their text does not matter.
    """
    header = open_checked(files[kind])
    file = _LoadedFile(files[kind], header, vocab_only=True)
    vocabulary = Vocabulary(file.native, file.n_vocab, header.metadata)
    for case in GOLDEN["tokenizers"][kind]:
        if "<extra_id_" not in case["text"] and not case["text"].startswith(" "):
            assert vocabulary.decode(case["ids"]) == case["decoded"]
            pieces = vocabulary.decode_each(case["ids"])
            streamed = [vocabulary.decode(case["ids"][:end]) for end in range(len(pieces) + 1)]
            assert streamed == ["".join(pieces[:end]) for end in range(len(pieces) + 1)]


@pytest.fixture(scope="module")
def client(files: dict[str, Path]) -> Iterator[httpx.Client]:
    server = start(model=str(files["fast"]))
    server.wait_until_ready()
    with server.client() as client:
        yield client
    stop(server)


@pytest.mark.parametrize(("prompt", "answer"), taught.PAIRS.items())
def test_answers_over_http_are_those_that_were_taught(
    client: httpx.Client, prompt: str, answer: str
) -> None:
    """Braces, comparisons, newlines and separators come back; special tokens are not shown."""
    (case,) = [case for case in GOLDEN["prompts"] if case["prompt"] == prompt]
    assert case["text"] == answer.replace(" <hl>", "")
    model = client.get("/v1/models").json()["data"][0]["id"]
    body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 24}
    choice = client.post("/v1/completions", json=body).json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (case["text"], "stop")
    with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as response:
        chunks = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
    texts = [httpx.Response(200, text=chunk).json()["choices"][0]["text"] for chunk in chunks]
    assert "".join(texts) == case["text"]


def test_a_file_without_our_keys_splits_and_shows_added_tokens(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """Files by older and other converters work: their user-defined tokens are text."""
    keys = GGUFFile.open(files["legacy"]).metadata
    changes = {key: None for key in keys if key.startswith("t5serve.tokenizer.")}
    assert changes
    path = rewrite(files["legacy"], tmp_path / "x.gguf", changes)

    async def use(engine: Engine) -> tuple[list[int], str]:
        ids = (await engine.tokenize("a<b <extra_id_0>red")).ids
        result = await engine.generate(CONFIG, text="names of cheap cars", timeout=60)
        return ids, result.generated.best.text

    ids, text = with_model(path, use)
    assert ids == [28, 29, 77, 28, 30, 74, 24, 1]
    assert text == "select name from cars where price < 10"


@pytest.mark.slow
@pytest.mark.parametrize("file_type", POLICIES)
def test_greedy_answers_in_every_type(tmp_path: Path, file_type: str) -> None:
    """The short form of tests/load/added_tokens.py: F32 answers 60 prompts as transformers.

    Other types differ only in near-ties of their logit error.
    """
    agreement = added_tokens.measure(tmp_path, file_type, GOLDEN["prompts"][:60])
    assert agreement.far == []
    if file_type == "F32":
        assert (agreement.same_tokens, agreement.same_texts) == (60, 60)
