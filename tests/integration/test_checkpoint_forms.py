"""Every form of checkpoint, from its directory to an answer over HTTP, against transformers.

tests/golden/checkpoint_forms.json has transformers' token ids and answers.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.checkpoint_forms import FORMS
from support.parity import golden
from support.serving import start, stop
from t5engine.reader import GGUFFile
from t5gguf import __main__ as cli
from t5gguf import recipe

GOLDEN = golden("checkpoint_forms")["forms"]
TESTS = Path(__file__).parents[1]
README = TESTS.parent / "gguf" / "README.md"
KEY = "an operator's key"
PLAIN = [name for name, form in FORMS.items() if not form.uses_defaults]


@dataclass(frozen=True)
class Served:
    """A form's file, and a client of a service that serves it."""

    name: str
    file: Path
    client: httpx.Client

    @property
    def cases(self) -> list[dict[str, Any]]:
        """What transformers answers."""
        cases: list[dict[str, Any]] = GOLDEN[self.name]
        return cases

    def complete(self, prompt: str | list[int]) -> tuple[str, int]:
        """Returns a greedy answer, and the number of the prompt's tokens."""
        model = self.client.get("/v1/models").json()["data"][0]["id"]
        body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 12}
        answer = self.client.post("/v1/completions", json=body).json()
        return answer["choices"][0]["text"], answer["usage"]["prompt_tokens"]

    def stream(self, prompt: str, **fields: Any) -> list[dict[str, Any]]:
        """Returns the choices of a greedy answer's events."""
        model = self.client.get("/v1/models").json()["data"][0]["id"]
        body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 12}
        body |= {"stream": True, **fields}
        with self.client.stream("POST", "/v1/completions", json=body) as response:
            events = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
        return [json.loads(event)["choices"][0] for event in events]


class Service:
    """A service whose model is replaced by each form, which is faster than a service per form."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "model.gguf"
        keys = folder / "keys"
        keys.write_text(KEY, encoding="utf-8")
        shutil.copy(recipe.load("tiny-t5").model_path(), self._path)
        self.server = start(model=str(self._path), admin_keys_file=str(keys), threads="1")
        self.server.wait_until_ready()

    def load(self, file: Path) -> None:
        """Puts a file in the model's place, and reloads it."""
        beside = self._path.with_suffix(".new")
        shutil.copy(file, beside)
        beside.replace(self._path)
        headers = {"authorization": f"Bearer {KEY}"}
        response = httpx.post(f"{self.server.url}/admin/reload", headers=headers, timeout=60)
        assert response.status_code == 200, response.text


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service"))
    yield running
    stop(running.server)


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The form, converted by the command line, and served."""
    form = FORMS[request.param]
    directory = tmp_path_factory.mktemp("form")
    form.build(directory / "checkpoint")
    queries = directory / "queries.txt"
    queries.write_text("\n".join(form.prompts), encoding="utf-8")
    file = directory / f"{request.param}.gguf"
    command = ["convert", str(directory / "checkpoint"), "--out", str(file), "--quiet"]
    command += ["--type", form.file_type, "--queries", str(queries), "--no-calibration"]
    assert cli.main(command) == 0
    service.load(file)
    with service.server.client() as client:
        yield Served(request.param, file, client)


@pytest.mark.slow
@pytest.mark.parametrize("served", PLAIN, indirect=True)
def test_answers_over_http_are_transformers_(served: Served) -> None:
    """Also for transformers' token ids in place of the text, which are as many as the text's."""
    assert {case["prompt"] for case in served.cases} == {*FORMS[served.name].prompts}
    for case in served.cases:
        expected = case["text"], len(case["prompt_ids"])
        assert served.complete(case["prompt"]) == expected
        assert served.complete(case["prompt_ids"]) == expected


@pytest.mark.slow
@pytest.mark.parametrize("served", ["cleaned", "cleaned_slow"], indirect=True)
def test_streams_of_cleaned_answers_are_transformers_(served: Served) -> None:
    """As are their tokens' texts and offsets; stop strings are those of the cleaned text."""
    for case in served.cases:
        choices = served.stream(case["prompt"], logprobs=2)
        assert "".join(choice["text"] for choice in choices) == case["text"]
        parts = [choice["logprobs"] for choice in choices if choice["logprobs"]]
        tokens = [token for part in parts for token in part["tokens"]]
        offsets = [offset for part in parts for offset in part["text_offset"]]
        assert "".join(tokens) == case["text"]
        assert offsets == [len("".join(tokens[:index])) for index in range(len(tokens))]
        # The space before it is not in the text that the client gets.
        for mark in (case["text"][-2:], f" {case['text'][-1]}"):
            stopped = served.stream(case["prompt"], stop=mark)
            expected = case["text"].partition(mark)[0]
            assert "".join(choice["text"] for choice in stopped) == expected


@pytest.mark.slow
@pytest.mark.parametrize("served", ["generation_config"], indirect=True)
def test_a_request_that_sets_nothing_has_the_checkpoint_s_defaults(served: Served) -> None:
    """Beams, penalties and length are generation_config.json's; greedy answers would differ."""
    for case in served.cases:
        body = served.client.post("/v1/reformulate", json={"query": case["prompt"]}).json()
        assert body["results"][0]["queries"] == [case["text"]]
        assert served.complete(case["prompt"])[0] != case["text"]


@pytest.mark.slow
@pytest.mark.parametrize("served", ["narrow"], indirect=True)
def test_a_file_of_a_type_that_its_widths_forbid_is_labelled_as_f16(served: Served) -> None:
    assert GGUFFile.open(served.file).metadata["general.file_type"] == 1


def test_each_row_of_the_readme_s_tables_names_tests_that_exist() -> None:
    """Of the tables of checkpoints and tokenizers, taken or refused."""
    section = README.read_text(encoding="utf-8").partition("## Supported checkpoints")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line[:2] == "| "]
    named = [re.findall(r"`(test_\w+)`", row) for row in rows if not row.endswith("| test |")]
    files = {path.stem for path in TESTS.rglob("test_*.py")}
    assert len(named) > 20
    assert all(named)
    assert {name for row in named for name in row} <= files
