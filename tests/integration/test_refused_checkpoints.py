"""What is no T5 checkpoint, or none that is taken, at the command line: one sentence each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from support import taught
from support.checkpoints import write_safetensors
from support.rewriting import rewrite
from support.samples import read_proto, write_json
from t5gguf import __main__ as cli
from t5gguf.checkpoint import Checkpoint

Change = Callable[[Path], None]


def replace_file(name: str, content: bytes) -> Change:
    def change(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return change


def rename_weights(name: str) -> Change:
    def change(directory: Path) -> None:
        (directory / "model.safetensors").rename(directory / name)

    return change


def replace_tokenizer(**files: object) -> Change:
    """Replaces the vocabulary by files, whose names have `__` for a dot."""

    def change(directory: Path) -> None:
        for name in ("spiece.model", "tokenizer.json", "tokenizer_config.json"):
            (directory / name).unlink(missing_ok=True)
        for name, content in files.items():
            write_json(directory / name.replace("__", "."), content)

    return change


def change_json(name: str, **fields: object) -> Change:
    def change(directory: Path) -> None:
        path = directory / name
        write_json(path, json.loads(path.read_text(encoding="utf-8")) | fields)

    return change


def make_bpe_model(directory: Path) -> None:
    replace_tokenizer()(directory)
    taught.write_spiece(directory / "spiece.model")
    proto = read_proto(directory / "spiece.model")
    proto.trainer_spec.model_type = 2  # SentencePiece's BPE
    (directory / "spiece.model").write_bytes(proto.SerializeToString())


def add_adapter(directory: Path) -> None:
    rename_weights("adapter_model.safetensors")(directory)
    write_json(directory / "adapter_config.json", {"peft_type": "LORA"})


def quantise(directory: Path) -> None:
    tensors = Checkpoint.open(directory).tensors
    stored: dict[str, tuple[str, NDArray[np.generic]]] = {
        name: ("I8", tensor.load().astype("i1"))
        if len(tensor.shape) == 2
        else ("F32", tensor.load())
        for name, tensor in tensors.items()
    }
    write_safetensors(directory / "model.safetensors", stored)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 242\n"
LLAMA_CPP_FILE = Path(__file__).parents[1] / "data" / "llama_cpp_tied.gguf"
BYTES = {"tokenizer_class": "ByT5Tokenizer"}
REFUSED: dict[str, tuple[Change, str]] = {
    "pointer": (replace_file("model.safetensors", POINTER), "is a Git LFS pointer"),
    "page": (replace_file("tokenizer.json", b"<!doctype html><p>404"), "is a web page"),
    "BPE files": (replace_tokenizer(vocab__json={}, merges__txt={}), "has a BPE vocabulary"),
    "BPE model": (make_bpe_model, "spiece.model is not a Unigram model"),
    "BPE tokenizer.json": (change_json("tokenizer.json", model={"type": "BPE"}), "model is BPE"),
    "WordPiece": (replace_tokenizer(vocab__txt={}), "has a WordPiece vocabulary"),
    "bytes": (replace_tokenizer(tokenizer_config__json=BYTES), "has ByT5's vocabulary of bytes"),
    "no tokenizer": (replace_tokenizer(), "has none of spiece.model, tokenizer.model"),
    "lowercase": (
        change_json("tokenizer.json", normalizer={"type": "Lowercase"}),
        "its normalizer Lowercase is not supported",
    ),
    "adapter": (add_adapter, "has a LoRA adapter, but not its base model: merge them"),
    "TensorFlow": (rename_weights("tf_model.h5"), "has weights for TensorFlow only"),
    "Flax": (rename_weights("flax_model.msgpack"), "has weights for Flax only"),
    "bitsandbytes": (quantise, "weight(s) are of I8, not of floats"),
    "no weights": (rename_weights("elsewhere"), "has neither model.safetensors nor"),
    "two end marks": (
        change_json("config.json", eos_token_id=[1, 2]),
        "eos_token_id is [1, 2], but the engine ends answers with one token",
    ),
    "another architecture": (
        change_json("config.json", architectures=["BartForConditionalGeneration"]),
        "architecture BartForConditionalGeneration is not one of",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_the_command_line_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """`t5gguf convert` and `t5gguf inspect` say the same, and no file is written."""
    change, message = REFUSED[fault]
    directory = taught.build("fast", tmp_path / "checkpoint")
    change(directory)
    out = tmp_path / "x.gguf"
    assert cli.main(["convert", str(directory), "--out", str(out), "--quiet"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert all(line.isprintable() for line in error.splitlines())
    assert not out.exists()
    assert cli.main(["inspect", str(directory)]) == 1
    refusal = capsys.readouterr().out.partition("refused: ")[2]
    assert refusal == error.removeprefix("t5gguf: ")


def test_the_directory_above_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the checkpoint below, if there is one."""
    assert cli.main(["inspect", str(tmp_path)]) == 1
    assert "has no config.json; name the directory of a checkpoint" in capsys.readouterr().out
    directory = taught.build("fast", tmp_path / "checkpoint")
    assert cli.main(["inspect", str(tmp_path)]) == 1
    assert f"has no config.json; is it {directory}?" in capsys.readouterr().out


def run_service(command: str, model: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "t5serve", command, "--model", str(model)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_the_service_says_that_a_model_is_a_directory(tmp_path: Path, command: str) -> None:
    directory = taught.build("fast", tmp_path / "checkpoint")
    ran = run_service(command, directory)
    assert ran.returncode == 1
    assert f"{directory} is a directory; convert the checkpoint" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_doctor_says_what_inspect_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The header check is the same."""
    path = rewrite(LLAMA_CPP_FILE, tmp_path / "x.gguf", {"t5.block_count": 2**31 - 1})
    ran = run_service("doctor", path)
    assert ran.returncode == 1
    assert "t5.block_count is 2147483647, but the file has" in ran.stderr
    assert cli.main(["inspect", str(path)]) == 1
    refusal = capsys.readouterr().out.partition("refused: ")[2]
    assert refusal == ran.stderr.removeprefix("t5serve: ")
