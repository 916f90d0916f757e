"""How the service starts and ends: addresses, ports, signals, standard streams."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.overloading import metric, wait_for
from support.raw import RawConnection
from support.serving import Server, free_port, start, stop

LONG = {
    "queries": [f"how do i clean a laptop screen number {number}" for number in range(32)],
    "n": 16,
}


def fail(*arguments: str, **settings: str) -> str:
    """Starts a service that can't start; returns its only line."""
    environment = {f"T5SERVE_{name.upper()}": value for name, value in settings.items()}
    ran = subprocess.run(
        [sys.executable, "-m", "t5serve", "serve", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    (line,) = ran.stderr.splitlines()  # no line of a worker that was started
    return line


def test_a_port_in_use_is_one_line(server: Server) -> None:
    """It names the setting and the address, before any worker starts."""
    port = httpx.URL(server.url).port
    line = f"t5serve: T5SERVE_PORT: 127.0.0.1:{port} is in use"
    assert fail("--port", str(port)) == line
    assert fail("--port", str(port), "--host", "localhost") == line
    assert fail("--port", str(port), host="0.0.0.0").endswith(f"0.0.0.0:{port} is in use")  # noqa: S104


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("nothing.invalid", "nothing.invalid can't be resolved: "),
        ("a..b", "a..b can't be resolved: it is no name of a host"),
        ("192.0.2.7", "192.0.2.7 is not an address of this machine"),
        ("2001:db8::7", "2001:db8::7 is not an address of this machine"),
    ],
)
def test_a_bad_host_is_named(host: str, message: str) -> None:
    """The one line names the setting and the host; addresses are RFC 5737's and RFC 3849's."""
    assert fail("--host", host, "--port", "0").startswith(f"t5serve: T5SERVE_HOST: {message}")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
@pytest.mark.parametrize(
    ("host", "addresses"), [("[::1]", ["[::1]"]), ("::", ["[::1]", "127.0.0.1"])]
)
def test_ipv6(host: str, addresses: list[str]) -> None:
    """An address may have a URL's brackets; `::` is for both families."""
    server = start(host=host)
    server.url = server.url.replace("127.0.0.1", "[::1]")
    server.wait_until_ready()
    port = httpx.URL(server.url).port
    answers = [httpx.get(f"http://{address}:{port}/healthz") for address in addresses]
    log = stop(server)
    assert all(answer.status_code == 200 for answer in answers)
    assert f"listening on http://[{host.strip('[]')}]:{port} " in log


@pytest.fixture
def victim() -> Iterator[Server]:
    running = start(log_level="WARNING")
    running.wait_until_ready()
    yield running
    running.process.kill()
    running.process.wait()


def test_a_second_ctrl_c_ends_it_at_once(victim: Server) -> None:
    """Requests that run are cut off, without a traceback; the status is the shell's for SIGINT."""
    body = json.dumps(LONG).encode()
    with RawConnection(victim) as connection:
        head = f"POST /v1/reformulate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
        connection.send(head.encode() + b"\r\n\r\n" + body)
        wait_for(lambda: metric(victim, "t5serve_running") > 0)
        for _ in range(3):
            victim.process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        log = victim.wait()
    assert victim.process.returncode == 130
    assert "Traceback" not in log


def test_log_levels_in_any_case(victim: Server) -> None:
    """`WARNING` is `warning`: nothing is said of an ordinary start."""
    assert stop(victim) == ""


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(closed: str, tmp_path: Path) -> None:
    """A supervisor may start the service with closed standard streams."""
    port = free_port()
    command = f"exec {sys.executable} -m t5serve serve --port {port} {closed}"
    with (tmp_path / "log").open("w+b") as log:
        process = subprocess.Popen(["/bin/sh", "-c", command])
        server = Server(process, f"http://127.0.0.1:{port}", log)
        server.wait_until_ready()
        with server.client() as client:
            answer = client.post("/v1/reformulate", json={"query": "a red bus"})
        stop(server)
    assert answer.status_code == 200


def test_messages_do_not_move_to_another_stream(tmp_path: Path) -> None:
    """With a closed standard error, an error message does not appear on standard output."""
    command = f"{sys.executable} -m t5gguf convert {tmp_path} --out {tmp_path}/x.gguf 2>&-"
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, b"")
