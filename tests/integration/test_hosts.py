"""The Host of requests and the rate of clients, over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.raw import RawConnection
from support.serving import Server, start, stop


@contextlib.contextmanager
def serving(**settings: str) -> Iterator[Server]:
    server = start(**settings)
    server.wait_until_ready()
    yield server
    stop(server)


def status(server: Server, host: str, path: str = "/v1/models") -> int:
    return httpx.get(f"{server.url}{path}", headers={"host": host}).status_code


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"]
)
def test_loopback_has_its_names(server: Server, host: str) -> None:
    """A service on loopback without keys answers to loopback's names, with any port."""
    assert status(server, host) == 200


FOREIGN = [
    "",
    "evil.example",
    "evil.example:8000",
    "evil.example:80:localhost",
    "localhost.evil.example",
    "localhost, evil.example",
    "localhost:x",
    "127.0.0.1.evil.example",
    "::1",
    "[::1",
]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_page_that_rebinds_dns_gets_nothing(server: Server, host: str) -> None:
    """Any other name is refused with 421, unless a probe asks."""
    refused = httpx.get(f"{server.url}/v1/models", headers={"host": host})
    assert refused.status_code == 421
    assert refused.json()["error"]["code"] == "host_not_allowed"
    assert {"x-request-id", "x-processing-ms"} <= set(refused.headers)
    assert status(server, host, "/") == 421
    assert status(server, host, "/healthz") == status(server, host, "/readyz") == 200


def test_two_hosts_are_refused(server: Server) -> None:
    """One of them could be for a proxy, the other for the service."""
    with RawConnection(server) as connection:
        connection.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n")
        assert connection.receive().status in (400, 421)


def test_hosts_can_be_named() -> None:
    """The setting replaces the default; a name that begins with a dot allows subdomains."""
    with serving(allowed_hosts="search.example, .internal") as server:
        assert status(server, "search.example:443") == status(server, "a.b.internal") == 200
        assert status(server, "localhost") == status(server, "internal") == 421


def test_keys_need_no_names(tmp_path: Path) -> None:
    """A page that rebinds DNS has no key; a rate is counted for each key."""
    keys = tmp_path / "keys"
    keys.write_text("one\ntwo\n")
    with serving(api_keys_file=str(keys), rate_limit="3/hour") as server, server.client() as client:
        for key in ("one", "two"):
            headers = {"host": "evil.example", "authorization": f"Bearer {key}"}
            answers = [client.get("/v1/models", headers=headers) for _ in range(5)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
            assert answers[-1].json()["error"]["code"] == "rate_limited"
            assert 3000 < int(answers[-1].headers["retry-after"]) <= 3600
            wrong = client.get("/v1/models", headers={"authorization": "Bearer three"})
            assert wrong.status_code == 401
        assert client.get("/readyz").status_code == 200
