"""API keys: accepted and refused requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from t5serve.errors import StartupError
from t5serve.http.auth import ApiKeys, KeyRing, read_keys
from t5serve.http.endpoints import OPEN_ENDPOINTS

KEYS = ["first", "a much longer second key", "cl\u00e9", "voil\u00e0", "\u5bc6\u94a5"]


def ask(path: str, authorization: bytes | None) -> httpx.Response:
    """Requests a path of an application that requires keys for every closed path."""

    async def hello(_request: Request) -> Response:
        return PlainTextResponse("hello")

    async def run() -> httpx.Response:
        app = Starlette(routes=[Route("/{path:path}", hello, methods=["GET", "POST"])])
        guarded = ApiKeys(app, KeyRing([key.encode() for key in KEYS]))
        transport = httpx.ASGITransport(guarded)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            headers = {} if authorization is None else {b"authorization": authorization}
            return await client.get(path, headers=headers)

    return asyncio.run(run())


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER   "])
def test_each_key_opens(key: str, scheme: bytes) -> None:
    """Keys are compared as bytes: the last byte of "\u00e0" is a blank in latin-1."""
    assert ask("/v1/models", scheme + key.encode()).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer fir",
        b"Bearer first1",
        b"Bearer FIRST",
        b"Bearer first second",
        b"Basic first",
        b"first",
        b"Bearer \xff\xfe",
        b"Bearer cl\xe9",
        b"Bearer " + b"x" * 5000,
    ],
)
def test_nothing_else_does(authorization: bytes | None) -> None:
    """Other values are answered with 401 and the scheme that is required."""
    response = ask("/v1/models", authorization)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")


@pytest.mark.parametrize(
    "path", [endpoint.path.replace("{name}", "page.css") for endpoint in OPEN_ENDPOINTS]
)
def test_open_paths(path: str) -> None:
    """Open endpoints need no key."""
    assert ask(path, None).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/healthz/", "/docs/x", "/static", "/Healthz", "/v1/x?a=/healthz"],
)
def test_paths_that_look_open(path: str) -> None:
    """Only the exact paths of open endpoints are open."""
    assert ask(path, None).status_code == 401


def test_read_keys(tmp_path: Path) -> None:
    """The file has a key per line; blank lines and comments are skipped."""
    file = tmp_path / "keys"
    file.write_bytes("# ours\r\nfirst\r\n\n  se cond  \nvoil\u00e0\n#old\n".encode())
    assert read_keys(file) == [b"first", b"se cond", "voil\u00e0".encode()]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing but a comment\n"])
def test_a_file_without_keys(tmp_path: Path, content: bytes) -> None:
    """The service does not start: a file without keys would lock everybody out."""
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(StartupError, match="has no key"):
        read_keys(file)


def test_no_file(tmp_path: Path) -> None:
    """The service does not start if the file is missing."""
    with pytest.raises(StartupError, match="No such file"):
        read_keys(tmp_path / "keys")
