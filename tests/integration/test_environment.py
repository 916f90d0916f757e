"""Variables with the prefix T5SERVE_, as the process at its start sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.serving import free_port, start, stop


def refusal(**variables: str) -> str:
    """Starts the service with variables that it must refuse; returns its message."""
    ran = subprocess.run(
        [sys.executable, "-m", "t5serve", "serve", "--port", str(free_port())],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    return ran.stderr


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("T5SERVE_API_KEY_FILE", "T5SERVE_API_KEYS_FILE"),
        ("t5serve_api_key_file", "T5SERVE_API_KEYS_FILE"),
        ("T5SERVE_API_KEYS", "T5SERVE_API_KEYS_FILE"),
        ("T5SERVE_THREAD", "T5SERVE_THREADS"),
        ("T5SERVE_MODELS", "T5SERVE_MODEL"),
        ("T5SERVE_LOGLEVEL", "T5SERVE_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_refused(name: str, nearest: str) -> None:
    """The message names the variable, and the setting that was probably meant."""
    message = refusal(**{name: "keys"})
    assert f"{name}: there is no such setting; did you mean {nearest}?" in message


def test_every_unknown_variable_is_named() -> None:
    """One start shows all faults; a name that resembles none is sent to the settings page."""
    message = refusal(T5SERVE_XYZZY="1", T5SERVE_HOTS="a")
    assert "T5SERVE_XYZZY: there is no such setting; docs/settings.md" in message
    assert "T5SERVE_HOTS: there is no such setting; did you mean T5SERVE_HOST?" in message


def test_the_port_of_kubernetes() -> None:
    """A Service named t5serve sets a variable of the name of a setting."""
    message = refusal(T5SERVE_PORT="tcp://10.0.0.1:80")
    assert "T5SERVE_PORT: tcp://10.0.0.1:80 is Kubernetes' variable" in message
    assert "enableServiceLinks: false" in message


def test_an_empty_file_of_keys_is_refused(tmp_path: Path) -> None:
    """Neither an empty name nor a file without keys leaves the service open."""
    assert "T5SERVE_API_KEYS_FILE: is empty" in refusal(T5SERVE_API_KEYS_FILE="")
    keys = tmp_path / "keys"
    keys.write_text("# none yet\n")
    assert "has no key" in refusal(T5SERVE_API_KEYS_FILE=str(keys))


def test_empty_and_foreign_variables_are_no_settings() -> None:
    """The service starts with its defaults, on loopback, beside the variables of others."""
    links = {
        "api_key": "a client's",
        "service_host": "10.0.0.1",
        "service_port": "80",
        "service_port_http": "80",
        "port_80_tcp": "tcp://10.0.0.1:80",
        "port_80_tcp_addr": "10.0.0.1",
        "canary_service_host": "10.0.0.2",
        "canary_port": "tcp://10.0.0.2:80",
    }
    names = ("host", "model", "ggml_backends", "threads", "cors_origins", "log_level", "port")
    server = start(**links, **dict.fromkeys(names, ""))
    server.wait_until_ready()
    assert httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"] == "tiny-t5"
    assert "http://127.0.0.1:" in stop(server)
