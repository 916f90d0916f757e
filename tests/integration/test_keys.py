"""API keys and CORS on every route of a real service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI
from starlette.applications import Starlette
from starlette.routing import Route

from support.fakes import unstarted_models
from support.serving import Server, start, stop
from t5serve.http.app import create_app
from t5serve.http.middleware import RequestContext
from t5serve.http.routes.page import read_assets
from t5serve.settings import Settings

KEYS = ["first", "second-\u00e0", "a key with spaces"]
# As the contract says: what tells of the service, the page and all that it is made of.
OPEN = {"/", "/healthz", "/readyz", "/docs", "/openapi.json", "/static/nothing"} | {
    f"/static/{name}" for name in read_assets()
}
ADMIN = {"/admin/reload"}
OPERATOR = "an operator's key"
MISSING = {"/v1/nothing", "/metrics/", "/static/nothing"}
ORIGIN = "https://search.example"


def route_table() -> list[tuple[str, str]]:
    """Every method and path of the application, and some that it does not have."""
    app = create_app(Settings(), unstarted_models())
    assert isinstance(app, RequestContext)
    assert isinstance(app._app, Starlette)
    routes = [route for route in app._app.routes if isinstance(route, Route)]
    assert len(routes) == len(app._app.routes)
    found = {
        (method, path)
        for route in routes
        for method in route.methods or ()
        for path in paths(route.path)
    }
    assert len(found) >= 10
    return sorted(found | {("GET", path) for path in MISSING} | {("DELETE", "/v1/models")})


def paths(path: str) -> list[str]:
    """A route's path with its parameter filled in."""
    if path == "/static/{name}":
        return [f"/static/{name}" for name in read_assets()]
    return [re.sub(r"{\w+(:\w+)?}", "tiny-t5", path)]


ROUTES = route_table()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with keys, and one origin whose pages may call it."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("# ours\n" + "\n".join(KEYS), encoding="utf-8")
    operators = file.with_name("operators")
    operators.write_text(OPERATOR)
    running = start(
        api_keys_file=str(file),
        admin_keys_file=str(operators),
        cors_origins=f"{ORIGIN}, https://b.example",
    )
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="module")
def http(guarded: Server) -> Iterator[httpx.Client]:
    with guarded.client() as one:
        yield one


def ask(http: httpx.Client, method: str, path: str, authorization: bytes | None) -> httpx.Response:
    headers = {} if authorization is None else {b"authorization": authorization}
    return http.request(method, path, headers=headers, content=b"{}")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_right_key(http: httpx.Client, method: str, path: str) -> None:
    """401 everywhere but on the open routes, also for what does not exist."""
    wrong = (None, b"", b"Bearer wrong", b"Bearer second-", b"Basic first", b"Bearer \xff\xfe\xe0")
    for authorization in wrong:
        response = ask(http, method, path, authorization)
        assert (response.status_code == 401) == (path not in OPEN)
        if path not in OPEN and method != "HEAD":
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["x-request-id"]


@pytest.mark.parametrize("key", KEYS)
def test_with_each_right_key(http: httpx.Client, key: str) -> None:
    """Every route answers as if there were no keys, but for those of operators."""
    for method, path in ROUTES:
        status = ask(http, method, path, b"Bearer " + key.encode()).status_code
        expected = {"POST": 400, "DELETE": 405}.get(method, 200)
        if path in ADMIN:
            expected = 401
        assert status == (404 if path in MISSING else expected)


def test_with_an_operators_key(http: httpx.Client) -> None:
    """The key opens the routes of operators, and no other."""
    for method, path in ROUTES:
        status = ask(http, method, path, b"Bearer " + OPERATOR.encode()).status_code
        if path in ADMIN:
            assert status == 200
        else:
            assert (status == 401) == (path not in OPEN)


def test_the_sdk(guarded: Server) -> None:
    """Its class for a wrong key; a right one works."""
    given = {"base_url": f"{guarded.url}/v1", "max_retries": 0}
    with OpenAI(api_key="wrong", **given) as client, pytest.raises(openai.AuthenticationError):  # type: ignore[arg-type]
        client.models.list()
    with OpenAI(api_key="first", **given) as client:  # type: ignore[arg-type]
        assert client.models.list().data[0].id == "tiny-t5"


def preflight(http: httpx.Client, origin: str) -> httpx.Response:
    """What a browser asks before a page may post."""
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    return http.options("/v1/completions", headers=headers)


def test_named_origins(http: httpx.Client) -> None:
    """A preflight needs no key, the request does, and the page may read the refusal."""
    response = preflight(http, ORIGIN)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in response.headers
    for key, status in (("wrong", 401), ("first", 200)):
        headers = {"origin": ORIGIN, "authorization": f"Bearer {key}"}
        response = http.get("/v1/models", headers=headers)
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "x-t5serve-fallback"} <= {*exposed}


@pytest.mark.parametrize("origin", ["https://evil.example", f"{ORIGIN}.evil.example", "null"])
def test_other_origins(http: httpx.Client, origin: str) -> None:
    """No page from elsewhere is let in."""
    response = preflight(http, origin)
    assert response.status_code == 400
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("has_keys", [True, False])
def test_a_client_s_key_requires_no_key(tmp_path: Path, *, has_keys: bool) -> None:
    """The service says so if it was started with a client's variable, and without keys."""
    keys = tmp_path / "keys"
    keys.write_text("first\n")
    settings = {"api_keys_file": str(keys)} if has_keys else {}
    server = start(api_key="first", **settings)
    server.wait_until_ready()
    assert ("set T5SERVE_API_KEYS_FILE" in stop(server)) is not has_keys


def test_no_cors_and_no_keys_by_default(server: Server) -> None:
    """No origin is named, no key is asked for."""
    with server.client() as client:
        assert preflight(client, ORIGIN).status_code == 405
        response = client.get("/v1/models", headers={"origin": ORIGIN})
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control")]
