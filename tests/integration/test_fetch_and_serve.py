"""From a recipe's name to answers, against a hub of our own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support import hub_server, serving, tiny
from support.hub_server import Hub
from t5engine.reader import GGUFFile
from t5gguf import recipe

ROOT = Path(__file__).parents[2]
NAME = "t5-query-reformulation-rl"
REPO = "prhegde/t5-query-reformulation-RL"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("T5GGUF_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub_server.serve() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def fetch(tmp_path: Path, *arguments: str) -> str:
    """Runs the script as a user would; what it printed."""
    lock = str(tmp_path / "lock.json")
    command = [sys.executable, str(ROOT / "scripts" / "fetch.py"), *arguments, "--lock", lock]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def served(printed: str) -> str:
    """The model in the command that was printed."""
    (model,) = re.findall(r"^serve it with: \./scripts/serve --model (\S+)$", printed, re.MULTILINE)
    return str(model)


def test_one_command_from_a_recipes_name_to_a_served_model(hub: Hub, tmp_path: Path) -> None:
    """Fetched, converted to two types, verified, served by the recipe's name, and it answers."""
    source = tiny.build("tied_relu", tmp_path / "source")
    revision = hub.commit(REPO, hub_server.of_directory(source))
    printed = fetch(tmp_path, NAME, "--convert", "Q8_0,Q4_0")
    assert printed.count("verified") == 2
    for kind in ("Q8_0", "Q4_0"):
        metadata = GGUFFile.open(tmp_path / "models" / f"{NAME}-{kind}.gguf").metadata
        assert metadata["t5serve.source.repo"] == REPO
        assert metadata["t5serve.source.revision"] == revision
        assert metadata["t5serve.license"] == "Apache-2.0"
        assert metadata["t5serve.generation.strategy"] == "sample"
        assert metadata.get("t5serve.calibration.queries") == {"Q8_0": None, "Q4_0": 200}[kind]
    assert json.loads((tmp_path / "lock.json").read_bytes())[NAME]["revision"] == revision
    for model in (served(printed), str(tmp_path / "models" / f"{NAME}-Q4_0.gguf")):
        running = serving.start(model=model)
        running.wait_until_ready()
        with running.client() as client:
            answer = client.post("/v1/reformulate", json={"query": "best boots", "seed": 1})
            assert answer.status_code == 200
            (result,) = answer.json()["results"]
            assert result["original"] == "best boots"
            assert client.get("/v1/models").json()["data"][0]["id"] == NAME
        serving.stop(running)
    assert served(printed) == NAME


def test_a_second_run_converts_only_what_is_missing(hub: Hub, tmp_path: Path) -> None:
    source = tiny.build("tied_relu", tmp_path / "source")
    hub.commit(REPO, hub_server.of_directory(source))
    fetch(tmp_path, NAME, "--convert", "Q8_0")
    path = tmp_path / "models" / f"{NAME}-Q8_0.gguf"
    written, before = state(path), len(hub.seen)
    printed = fetch(tmp_path, REPO, "--convert", "Q8_0,F32")
    assert printed.count("verified") == 1
    assert state(path) == written
    assert len(hub.seen) == before
    hub.commit(REPO, hub_server.of_directory(tiny.build("tied_relu", source, seed=1)))
    assert fetch(tmp_path, NAME, "--update", "--convert", "Q8_0").count("verified") == 1
    assert state(path) != written


def state(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_a_repository_without_a_recipe(hub: Hub, tmp_path: Path) -> None:
    hub.commit("someone/a-t5", hub_server.of_directory(tiny.build("gated_untied", tmp_path / "s")))
    model = served(fetch(tmp_path, "someone/a-t5", "--convert"))
    assert model == str(tmp_path / "models" / "someone--a-t5-Q8_0.gguf")
    running = serving.start(model=model)
    running.wait_until_ready()
    serving.stop(running)


def test_a_file_of_another_origin_is_not_overwritten(hub: Hub, tmp_path: Path) -> None:
    hub.commit(REPO, hub_server.of_directory(tiny.build("tied_relu", tmp_path / "source")))
    out = tmp_path / "models" / f"{NAME}-Q8_0.gguf"
    out.parent.mkdir()
    out.write_bytes(recipe.load("tiny-t5").model_path().read_bytes())
    lock = str(tmp_path / "lock.json")
    command = [sys.executable, "-m", "t5gguf", "fetch", NAME, "--convert", "Q8_0", "--lock", lock]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert f"{out} was not made from {REPO}; --force overwrites it" in ran.stderr
    assert fetch(tmp_path, NAME, "--convert", "Q8_0", "--force").count("verified") == 1


def test_a_ready_made_file_without_our_mark_is_served_with_its_scale(
    hub: Hub, tmp_path: Path
) -> None:
    """A tied model by llama.cpp's converter: unscaled logits would be off by a factor of 8."""
    made = (ROOT / "tests" / "data" / "llama_cpp_tied.gguf").read_bytes()
    others = {"t5-query-reformulation-RL-tq1_0.gguf": b"ternary", "README.md": b"#"}
    name = "t5-query-reformulation-RL-q8_0.gguf"
    hub.commit("AnanyaPathak/t5-query-reformulation-RL-GGUF", {name: made, **others})
    model = served(fetch(tmp_path, "AnanyaPathak/t5-query-reformulation-RL-GGUF"))
    assert model == "t5-query-reformulation-rl-gguf"
    assert recipe.load(model).model_path().read_bytes() == made
    assert (
        "t5serve.logits_calibrated" not in GGUFFile.open(recipe.load(model).model_path()).metadata
    )
    hub.commit("someone/same", hub_server.of_directory(tiny.build("tied_relu", tmp_path / "s")))
    ours = served(fetch(tmp_path, "someone/same", "--convert", "F32"))
    expected = log_probabilities(ours)
    np.testing.assert_allclose(log_probabilities(model), expected, atol=0.05)
    unscaled = log_probabilities(model, logit_scale="1")
    assert not np.allclose(unscaled, expected, atol=0.5), "the test would pass without scaling"


def log_probabilities(model: str, **settings: str) -> list[float]:
    """Of the tokens that a served model answers with."""
    running = serving.start(model=model, **settings)
    running.wait_until_ready()
    with running.client() as client:
        (listed,) = client.get("/v1/models").json()["data"]
        request = {"model": listed["id"], "prompt": "best boots", "temperature": 0, "logprobs": 1}
        (choice,) = client.post("/v1/completions", json=request).json()["choices"]
    serving.stop(running)
    return [float(value) for value in choice["logprobs"]["token_logprobs"]]
