"""nginx and HAProxy in front of three instances that are restarted under clients."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support.programs import require_program
from support.serving import NO_TLS, Server, free_port, start, stop

PROXY = Path(__file__).parents[2] / "docker" / "proxy"
CLIENTS = int(os.environ.get("PROXY_CLIENTS", "8"))
ROUNDS = int(os.environ.get("PROXY_ROUNDS", "1"))
LEFT_OUT_SECONDS = 1.1  # after a failure; nginx's fail_timeout is 1 s
PAUSE_SECONDS = 0.2  # of a client, between requests: else a restart gets little of the cores
QUERY = {"query": "how do i learn python", "strict": True}
COMMANDS = {
    "nginx": ("nginx.conf", ["nginx", "-g", "daemon off;", "-c"]),
    "haproxy": ("haproxy.cfg", ["haproxy", "-f"]),
}


@dataclass
class Cluster:
    """Three instances behind a proxy."""

    url: str
    instances: list[Server]
    ports: list[int]

    def restart(self, index: int) -> None:
        """Restarts an instance, and waits until it is ready and the proxy uses it again."""
        stop(self.instances[index])
        self.instances[index] = start(port=self.ports[index], threads="1")
        self.instances[index].wait_until_ready()
        time.sleep(LEFT_OUT_SECONDS)


@pytest.fixture(scope="module", params=COMMANDS)
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    tmp_path = tmp_path_factory.mktemp("proxy")
    name, command = COMMANDS[request.param]
    require_program(command[0], name.partition(".")[0])
    front, *ports = (free_port() for _ in range(4))
    addresses = {
        f"127.0.0.1:800{number}": f"127.0.0.1:{port}" for number, port in enumerate((front, *ports))
    }
    config = (PROXY / name).read_text(encoding="utf-8")
    assert set(re.findall(r"127\.0\.0\.1:\d+", config)) == set(addresses)
    config = re.sub(r"127\.0\.0\.1:\d+", lambda address: addresses[address.group()], config)
    config = re.sub(r"pid \S+;", f"pid {tmp_path}/proxy.pid;", config)
    file = tmp_path / name
    file.write_text(config)
    instances = [start(port=port, threads="1") for port in ports]
    for instance in instances:
        instance.wait_until_ready()
    proxy = subprocess.Popen([*command, str(file)])
    running = Cluster(f"http://127.0.0.1:{front}", instances, ports)
    wait_for_proxy(running.url)
    yield running
    proxy.terminate()
    proxy.wait()
    for instance in running.instances:
        stop(instance)


def wait_for_proxy(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", verify=NO_TLS).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail("the proxy does not answer")


@pytest.mark.slow
def test_a_rolling_restart_loses_nothing(cluster: Cluster) -> None:
    """Each request is answered by the model while the instances are restarted one by one.

    PROXY_CLIENTS and PROXY_ROUNDS in the environment make a longer run of it.
    """
    over = threading.Event()

    def ask() -> list[int]:
        statuses = []
        with httpx.Client(base_url=cluster.url, timeout=60) as client:
            while not over.is_set():
                statuses.append(client.post("/v1/reformulate", json=QUERY).status_code)
                time.sleep(PAUSE_SECONDS)
        return statuses

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask) for _ in range(CLIENTS)]
        for index in [*range(3)] * ROUNDS:
            cluster.restart(index)
        over.set()
        statuses = [status for client in clients for status in client.result()]
    assert len(statuses) > CLIENTS
    assert set(statuses) == {200}


@pytest.mark.slow
def test_streams_pass_a_proxy(cluster: Cluster) -> None:
    """Events come through whole, and an offer to upgrade does not lose the body."""
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AA"}
    body = {"query": QUERY["query"], "stream": True}
    streamed = httpx.post(f"{cluster.url}/v1/reformulate", json=body, headers=headers)
    assert streamed.status_code == 200
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert "event: done" in streamed.text
