"""Model files with wrong headers, through the worker's loader and a real worker."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from load import headers
from support import tiny
from support.rewriting import rewrite
from t5engine.config import WorkerConfig
from t5engine.errors import EngineError
from t5engine.frames import HEADER, unpack_from_worker
from t5engine.header import HeaderError, open_checked
from t5engine.messages import Unloadable
from t5engine.pool.engine import Engine
from t5gguf import __main__ as cli
from t5gguf.convert import Converter
from t5gguf.writer import Provenance


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("headers")
    converter = Converter(tiny.build("tied_relu", directory / "source"), Provenance("x"), ["rice"])
    return converter.convert(directory / "x.gguf", "F32", progress=False).path


def test_files_with_changed_headers_are_refused_or_served(file: Path) -> None:
    """The short form of tests/load/headers.py: no hang, no traceback, no abort in 150 files."""
    outcomes = headers.run(file, 150, seed=0)
    assert outcomes.keys() <= set(headers.FINE), outcomes
    assert len(outcomes["refused"]) > 75


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"t5.block_count": 2**31 - 1}, "t5.block_count is 2147483647, but the file has"),
    "layers beyond tensors": ({"t5.block_count": 5000}, "is 5000, but the file has 47 tensors"),
    "text for a number": ({"t5.embedding_length": "64"}, "t5.embedding_length is '64', expected"),
    "float for a number": ({"t5.block_count": 2.0}, "t5.block_count is 2.0, expected"),
    "no heads": ({"t5.attention.head_count": 0}, "head_count is 0, expected"),
    "missing": ({"t5.feed_forward_length": None}, "t5.feed_forward_length is missing"),
    "number for a name": ({"general.name": 5}, "general.name is 5, expected a text"),
    "scores": ({"tokenizer.ggml.scores": [0.5]}, "320 tokens have 1 scores and 320 types"),
    "no tokens": ({"tokenizer.ggml.tokens": None}, "tokens is None, expected an array of texts"),
    "end": ({"tokenizer.ggml.eos_token_id": 320}, "eos_token_id is 320, which is beyond"),
    "switch": (
        {"tokenizer.ggml.add_space_prefix": 1},
        "add_space_prefix is 1, expected true or false",
    ),
    "experts": ({"t5.expert_count": 8}, "t5.expert_count is 8, but no T5 has this key"),
    "rotation": ({"t5.rope.scaling.type": "x"}, "t5.rope.scaling.type is 'x', but no T5"),
    "end switch": (
        {"tokenizer.ggml.add_eos_token": False},
        "add_eos_token is False, expected true",
    ),
    "begin switch": (
        {"tokenizer.ggml.add_bos_token": True},
        "add_bos_token is True, expected false",
    ),
    "added": (
        {"t5serve.tokenizer.prepend_scheme": "last"},
        "its tokenizer is malformed: t5serve.tokenizer.prepend_scheme is 'last'",
    ),
    "clean-up": (
        {"t5serve.tokenizer.cleans_up_spaces": "true"},
        "cleans_up_spaces is 'true', expected true or false",
    ),
    "another model": ({"tokenizer.ggml.model": "llama"}, "model is 'llama', expected t5"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_header_is_refused_in_one_line(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """The worker and `t5gguf inspect` say the same: what is wrong, and what is expected."""
    changes, message = FAULTS[fault]
    path = rewrite(file, tmp_path / "x.gguf", changes)
    with pytest.raises(HeaderError) as error:
        open_checked(path)
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert cli.main(["inspect", str(path)]) == 1
    assert f"refused: {error.value}" in capsys.readouterr().out


async def load(path: Path) -> str:
    """The name of a model that a real worker loads."""
    async with Engine([WorkerConfig(str(path), 1, [], 64)], max_queue=1) as engine:
        return (await engine.ready()).name


def test_a_worker_refuses_fewer_rows_than_tokens(file: Path, tmp_path: Path) -> None:
    """Such a file became ready, and ended the worker later."""
    path = rewrite(file, tmp_path / "x.gguf", {}, rows=256)
    with pytest.raises(EngineError, match=r"token_embd\.weight has 256 rows for 320 tokens"):
        asyncio.run(load(path))


def test_a_name_reaches_no_console_with_control_characters(file: Path, tmp_path: Path) -> None:
    path = rewrite(file, tmp_path / "x.gguf", {"general.name": "\x1b[31mred\nline"})
    assert asyncio.run(load(path)) == "\ufffd[31mred\ufffdline"


def test_loading_has_a_time_limit(file: Path) -> None:
    """A worker that is still loading then says so and ends; here the limit is no time at all."""
    config = msgspec.json.encode(WorkerConfig(str(file), 1, [], 64)).decode()
    program = (
        "import sys, t5engine.worker.__main__ as worker; "
        "worker.LOAD_SECONDS = 0; sys.exit(worker.main())"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptor = theirs.fileno()
        process = subprocess.run(
            [sys.executable, "-c", program, str(descriptor), config],
            pass_fds=[descriptor],
            check=False,
        )
        (size,) = HEADER.unpack(ours.recv(HEADER.size, socket.MSG_WAITALL))
        message = unpack_from_worker(ours.recv(size, socket.MSG_WAITALL))
    assert process.returncode == 1
    assert isinstance(message, Unloadable)
    assert "loading took more than 0 s" in message.message


def test_a_file_without_metadata_is_named(tmp_path: Path) -> None:
    """Candle writes quantised T5s that way."""
    path = tmp_path / "x.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 0))
    with pytest.raises(EngineError, match=r"has no general\.architecture: another tool wrote"):
        asyncio.run(load(path))


def test_a_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is a directory; convert the checkpoint with `t5gg"):
        asyncio.run(load(tmp_path))


def test_inspect_says_what_a_file_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(file)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("x: architecture t5, ALL_F32, ")
    assert out[-2:] == ["vocabulary: 320 tokens; written by t5gguf", "this file can be served"]


def test_inspect_says_what_a_checkpoint_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without converting, and with the reason if it would be refused."""
    source = file.parent / "source"
    assert cli.main(["inspect", str(source)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("T5ForConditionalGeneration: 2 + 2 layers, d_model 64, 4 heads")
    assert out[-1] == "this checkpoint can be converted"
    (source / "spiece.model").rename(source / "elsewhere")
    try:
        assert cli.main(["inspect", str(source)]) == 1
    finally:
        (source / "elsewhere").rename(source / "spiece.model")
    assert "refused: " in capsys.readouterr().out
