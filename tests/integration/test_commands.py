"""The command line, as a user's shell runs it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from support import tiny
from support.serving import Server
from t5engine.kernels.loader import Kernels
from t5gguf.convert import Converter
from t5gguf.writer import Provenance

QUERIES = ["how do i learn python", "best laptop for students 2024", "what is a black hole"]


def t5serve(*arguments: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {f"T5SERVE_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "t5serve", *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


def answers(server: Server, **options: object) -> list[list[str]]:
    """What the service says to the same."""
    with server.client() as client:
        body = client.post("/v1/reformulate", json={"queries": QUERIES, **options}).json()
    return [result["queries"] for result in body["results"]]


def test_lines_of_stdin_give_lines(server: Server) -> None:
    """One a query, in order, as the service answers them; those that stay alike are named."""
    ran = t5serve("reformulate", "--task", "fix", given="\n".join(QUERIES) + "\n")
    assert ran.returncode == 0, ran.stderr
    with server.client() as client:
        body = {"queries": QUERIES, "task": "fix"}
        results = client.post("/v1/reformulate", json=body).json()["results"]
    assert [[line] for line in ran.stdout.splitlines()] == [one["queries"] for one in results]
    named = [
        f"t5serve: query {number} came back unchanged: {result['unchanged_reason']}"
        for number, result in enumerate(results, 1)
        if not result["changed"]
    ]
    assert named
    assert [line for line in ran.stderr.splitlines() if "t5serve" in line] == named


def test_options_are_the_endpoints(server: Server) -> None:
    """Beams and their parameters, several reformulations a query."""
    ran = t5serve(
        *("reformulate", "-n", "2", "--strategy", "beam", "--num-beams", "4"),
        *("--length-penalty", "0.5", "--to", "jsonl", *QUERIES),
    )
    got = [json.loads(line) for line in ran.stdout.splitlines()]
    wanted = answers(server, n=2, strategy="beam", num_beams=4, length_penalty=0.5)
    assert [one["queries"] for one in got] == wanted
    assert [one["id"] for one in got] == ["1", "2", "3"]


def test_many_lines_stay_in_order() -> None:
    """More than are begun at once."""
    given = [f"{number}\thow many legs has a dog {number}" for number in range(150)]
    ran = t5serve(
        *("reformulate", "--from", "tsv", "--max-tokens", "4"),
        given="\n".join(given),
        max_batch="4",
    )
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == [
        str(number) for number in range(150)
    ]


def test_a_bad_line_comes_back_and_is_told() -> None:
    """Nothing is lost silently: it stands where it stood, and the status says so."""
    ran = t5serve("reformulate", "--to", "tsv", given=f"{QUERIES[0]}\n\n{QUERIES[1]}\n")
    assert ran.returncode == 1
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == ["1", "2", "3"]
    assert "query 2 must not be blank" in ran.stderr
    assert "queries that were not reformulated: 1" in ran.stderr


def test_strict_stops_at_a_bad_line() -> None:
    """What was before it has been written."""
    ran = t5serve("reformulate", "--strict", given=f"{QUERIES[0]}\n\n{QUERIES[1]}\n")
    assert ran.returncode == 1
    assert len(ran.stdout.splitlines()) == 1
    assert ran.stderr.splitlines()[-1] == "t5serve: query 2 must not be blank"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "17"], "n: Input should be less than or equal to 16"),
        (["--top-p", "nan"], "top_p"),
        (["--task", "translate"], "this model has no task 'translate'"),
        (["--strategy", "greedy", "--num-beams", "3"], "num_beams has no effect"),
        (["--from", "jsonl"], "line 1: JSON is malformed"),
    ],
)
def test_what_can_not_be_is_one_line(arguments: list[str], message: str) -> None:
    """On standard error, status 2 for an option and 1 for a line, nothing on standard output."""
    ran = t5serve("reformulate", *arguments, given="a query\n")
    assert ran.returncode == (1 if "line 1" in message else 2)
    assert ran.stdout == ""
    assert message in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    """As `head` does."""
    command = f"yes a query | {sys.executable} -m t5serve reformulate --max-tokens 3 | head -2"
    ran = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=120
    )
    assert len(ran.stdout.splitlines()) == 2
    assert "Traceback" not in ran.stderr


def test_a_terminal_is_asked_line_by_line() -> None:
    """Each line is answered before the next is typed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "t5serve", "reformulate"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "Ctrl-D ends" in process.stderr.readline()
        os.write(ours, b"how do i learn python\n")
        assert "ython" in process.stdout.readline()
        os.write(ours, b"\x04")
        assert process.wait(60) == 0
    os.close(ours)
    os.close(theirs)


def test_models_are_listed() -> None:
    """Every recipe, with whether its file is here."""
    ran = t5serve("models")
    assert ran.returncode == 0
    assert "tiny-t5" in ran.stdout
    (tiny,) = [
        one for one in json.loads(t5serve("models", "--json").stdout) if one["name"] == "tiny-t5"
    ]
    assert Path(tiny["file"]).stat().st_size == tiny["bytes"]
    assert "paraphrase" in tiny["tasks"]
    assert tiny["aliases"] == {"expand": {"questions": "search", "keywords": "question"}}
    assert tiny["n"]["search"] == 5
    assert "question, expand" in ran.stdout


def test_doctor_finds_what_it_should() -> None:
    """Machine, build, threads, model and a measurement; too many threads are advised against."""
    ran = t5serve("doctor", "--json", threads="3", workers="2")
    assert ran.returncode == 0, ran.stderr
    found = {one["name"]: one for one in json.loads(ran.stdout)}
    assert {"versions", "processor", "cores", "kernels", "memory", "speed"} <= set(found)
    assert "2 x 3, not pinned" in found["threads"]["value"]
    assert "lower T5SERVE_THREADS" in found["threads"]["advice"]
    own = Kernels.find()
    kernels = f"own {own.name}" if own else "ggml's"
    told = f"tiny-t5-Q8_0.gguf, graph backend, {kernels} kernels"
    assert told in found["model"]["value"]


def test_doctor_tells_of_a_trimmed_vocabulary(tmp_path: Path) -> None:
    """From the file's metadata; llama.cpp's own graph takes such a file as well."""
    source = tiny.build("tied_relu", tmp_path / "source")
    text = tmp_path / "domain.txt"
    text.write_text("\n".join(QUERIES), encoding="utf-8")
    converter = Converter(source, Provenance("tiny"), QUERIES, domain=text)
    converter.convert(tmp_path / "trimmed.gguf", "F16", progress=False)
    rows = converter.checkpoint.config.vocab_size
    ran = t5serve("doctor", "--json", "--model", str(tmp_path / "trimmed.gguf"), backend="llama")
    assert ran.returncode == 0, ran.stderr
    found = {one["name"]: one["value"] for one in json.loads(ran.stdout)}
    assert "llama backend" in found["model"]
    assert f"; vocabulary trimmed to {rows} of 320; tasks: " in found["model"]


def test_doctor_says_so_when_a_model_is_none(tmp_path: Path) -> None:
    """One line, status 1."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"nothing")
    ran = t5serve("doctor", "--model", str(path))
    assert ran.returncode == 1
    assert ran.stderr == f"t5serve: {path} is not a GGUF file\n"
