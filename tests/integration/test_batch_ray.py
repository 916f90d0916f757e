"""`t5serve batch --ray` as a user's shell runs it, on a real cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.test_batch import BAD_LINES, GOOD_LINES, GREEDY, batch, errors, write
from support.serving import free_port

ROOT = Path(__file__).parents[2]
STORE_BYTES = 128 << 20
# By default Ray's workers have a low priority: other tests would starve them.
PRIORITY = {"RAY_worker_niceness": "0"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of one node with one processor and a token, started as an operator would."""
    pytest.importorskip("ray")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 2)
    monkeypatch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    for name, value in PRIORITY.items():
        monkeypatch.setenv(name, value)
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command.append(f"--port={address.rpartition(':')[2]}")
    command += ["--num-cpus=1", f"--object-store-memory={STORE_BYTES}"]
    with subprocess.Popen(
        [*command, "--include-dashboard=false", "--disable-usage-stats"],
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ray runtime started" in line:
                break
        yield address
        process.terminate()
    monkeypatch.undo()


@pytest.mark.slow
def test_rows_are_those_of_the_plain_command(tmp_path: Path, cluster: str) -> None:
    """The same bytes, bad rows among them, over several parts; nothing else is left or printed."""
    source = tmp_path / "in.jsonl"
    lines = [*GOOD_LINES, *(line for _, line in BAD_LINES.values())]
    source.write_bytes(b"\n".join([*lines, *(b'"how many legs has a dog"' for _ in range(200))]))
    plain, out = tmp_path / "plain.jsonl", tmp_path / "out.jsonl"
    assert batch(source, "-o", plain, *GREEDY).returncode == 0
    ran = batch(source, "-o", out, *GREEDY, "--ray", cluster)
    assert ran.returncode == 0, ran.stderr
    assert out.read_bytes() == plain.read_bytes()
    assert errors(out) == errors(plain)
    assert ran.stdout == ""
    assert ran.stderr.endswith(f"t5serve: 203 rows in {out}; 6 bad rows in {out}.errors.jsonl\n"), (
        ran.stderr
    )
    assert all(line.startswith("t5serve: ") for line in ran.stderr.splitlines())
    assert not list(tmp_path.glob("*.part*"))
    assert "is complete" in batch(source, "-o", out, *GREEDY, "--ray", cluster, "--resume").stderr


@pytest.mark.slow
def test_parquet_in_and_out(tmp_path: Path, cluster: str) -> None:
    """Parquet files give the table that the plain command gives."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    queries = ["how do i clean a laptop screen", None, "what is a black hole", " "] * 30
    table = pa.table({"number": list(range(120)), "question": queries})
    source = tmp_path / "in.parquet"
    parquet.write_table(table, source, row_group_size=70)
    columns = ("--column", "question", "--id-column", "number")
    plain, out = tmp_path / "plain.parquet", tmp_path / "out.parquet"
    assert batch(source, "-o", plain, *GREEDY, *columns).returncode == 0
    ran = batch(source, "-o", out, *GREEDY, *columns, "--ray", cluster)
    assert ran.returncode == 0, ran.stderr
    assert parquet.read_table(out).equals(parquet.read_table(plain))
    assert errors(out) == errors(plain)


@pytest.mark.slow
def test_what_a_cluster_refuses_is_one_line(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option, too many threads or a missing token end the job with a message."""
    source, out = write(tmp_path / "in.jsonl", ["a dog"]), tmp_path / "out.jsonl"
    ran = batch(source, "-o", out, "--ray", cluster, "--task", "translate")
    assert ran.returncode == 1
    assert "no task 'translate'" in ran.stderr
    assert ran.stderr.count("\n") == 1, ran.stderr
    ran = batch(source, "-o", out, "--ray", cluster, "--threads", "9", "--force")
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "no node of the cluster has 9 CPUs" in ran.stderr
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ran = batch(source, "-o", out, "--ray", cluster, "--force")
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "Authentication token is missing or incorrect" in ran.stderr


@pytest.mark.slow
def test_deaths_of_actors_nodes_and_the_command_lose_nothing() -> None:
    """The short form of tests/chaos/ray_nodes.py, whose status says whether rows were lost."""
    pytest.importorskip("ray")
    script = ROOT / "tests" / "chaos" / "ray_nodes.py"
    ran = subprocess.run(
        [sys.executable, str(script), "--lines", "2000", "--distinct", "100", "--kills", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env={**os.environ, **PRIORITY},
    )
    assert ran.returncode == 0, ran.stderr
    assert "complete: True, equal: True; 1,998 rows, 2 bad rows" in ran.stdout


def test_without_ray(tmp_path: Path) -> None:
    """Where Ray is not installed, a line says what to install."""
    (tmp_path / "ray.py").write_text("raise ImportError(\"No module named 'ray'\")")
    source, out = write(tmp_path / "in.jsonl", ["a dog"]), tmp_path / "out.jsonl"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, "-m", "t5serve", "batch", str(source), "-o", str(out), "--ray"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "pip install 't5serve[ray]'" in ran.stderr
    assert not out.with_name("out.jsonl.parts").exists()


def test_addresses_without_a_cluster(tmp_path: Path) -> None:
    """An address where nothing listens, no address at all and Ray's client are one line each."""
    pytest.importorskip("ray")
    source, out = write(tmp_path / "in.jsonl", ["a dog"]), tmp_path / "out.jsonl"
    messages = {
        f"127.0.0.1:{free_port()}": "no Ray cluster answers there",
        "somewhere": "the address is HOST:PORT",
        "ray://127.0.0.1:10001": "or with `ray job submit`",
    }
    for address, message in messages.items():
        ran = batch(source, "-o", out, "--ray", address, "--resume")
        assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
        assert message in ran.stderr
    assert (
        "--ray and --url exclude each other"
        in batch(*(source, "-o", out, "--ray", "--url=a")).stderr
    )


def test_outputs_are_not_overwritten_or_mixed(tmp_path: Path) -> None:
    """An output stays, and a job goes on as it was begun: with Ray or without."""
    source, out = write(tmp_path / "in.jsonl", ["a dog"]), tmp_path / "out.jsonl"
    out.write_text("mine")
    assert "exists; --force replaces it" in batch(source, "-o", out, "--ray").stderr
    parts = out.with_name("out.jsonl.parts")
    parts.mkdir()
    assert "--resume continues it" in batch(source, "-o", out, "--ray").stderr
    ran = batch(source, "-o", out, "--resume")
    assert f"{parts} is of a job that was begun with --ray" in ran.stderr
    parts.rmdir()
    out.with_name("out.jsonl.journal").touch()
    ran = batch(source, "-o", out, "--resume", "--ray")
    assert "out.jsonl.journal is of a job that was begun without --ray" in ran.stderr
    assert out.read_text() == "mine"
