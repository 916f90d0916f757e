"""Starts and stops the real service, as a user would."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

READY_SECONDS = 60.0
# For services without TLS. By default httpx reads the system's certificates for each client and
# each call without a client, which takes 25 ms: waiting would take the core that is waited for.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Server:
    """A running service."""

    process: subprocess.Popen[bytes]
    url: str
    log: IO[bytes]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60.0, verify=NO_TLS)

    def workers(self) -> list[int]:
        """The worker processes' ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def wait(self) -> str:
        """Waits for the end; what was written to standard error."""
        self.process.wait(timeout=60)
        self.log.seek(0)
        with self.log:
            return self.log.read().decode()

    def is_ready(self) -> bool:
        """What it says itself."""
        return httpx.get(f"{self.url}/readyz", verify=NO_TLS).status_code == 200

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.is_ready():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        pytest.fail(f"not ready after {READY_SECONDS} s")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start(port: int | str = 0, max_files: int | str = "", **settings: str) -> Server:
    """Starts the service as a user would, but without its cache of results, and with one worker.

    What a test or a measurement asks twice is to be decoded twice, and jobs are to meet in one
    worker on every machine. `cache_bytes=""` and `workers=""` are the service's defaults.

    Args:
        port: the port; 0: a free one.
        max_files: the limit on file descriptors; "": as it is.
        settings: settings without their prefix.
    """
    port = port or free_port()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody reads would fill
    limit = ["prlimit", f"--nofile={max_files}:{max_files}"] if max_files else []
    return launch(int(port), log, log, {"cache_bytes": "0", "workers": "1", **settings}, limit)


def launch(
    port: int,
    log: IO[bytes],
    stderr: IO[bytes] | int,
    settings: Mapping[str, str],
    prefix: Sequence[str] = (),
) -> Server:
    """Starts the service with the settings, which lack their prefix, and a standard error."""
    environment = {f"T5SERVE_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "t5serve", "serve", "--port", str(port)],
        env={**os.environ, **environment},
        stderr=stderr,
    )
    return Server(process, f"http://127.0.0.1:{port}", log)


def stop(server: Server) -> str:
    """Ends the service in order; what it wrote to standard error."""
    server.process.send_signal(signal.SIGTERM)
    return server.wait()
