"""Clients of other languages: each posts, reuses its connection and streams."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.programs import require_program
from support.relay import Relay
from support.serving import Server

ANSWERS = ["200 results", "200 results", "200 event: done"]
BODY = '{"query": "how do i learn python"}'
STREAMED = '{"query": "learn python", "stream": true}'

JAVA = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        for (String mark : new String[] {"results", "results", "event: done"}) {
            boolean isStream = mark.startsWith("event");
            String body = "{\\"query\\": \\"learn python\\", \\"stream\\": " + isStream + "}";
            var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
            var response = client.send(request, HttpResponse.BodyHandlers.ofString());
            if (!response.version().equals(HttpClient.Version.HTTP_1_1))
                throw new Exception("" + response.version());
            boolean isThere = response.body().contains(mark);
            System.out.println(response.statusCode() + " " + (isThere ? mark : response.body()));
        }
    }
}
"""

GO = """
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	for _, mark := range []string{"results", "results", "event: done"} {
		isStream := strings.HasPrefix(mark, "event")
		body := fmt.Sprintf(`{"query": "learn python", "stream": %t}`, isStream)
		response, err := http.Post(os.Args[1], "application/json", strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(content), mark) {
			panic(fmt.Sprint(err, string(content)))
		}
		fmt.Println(response.StatusCode, mark)
	}
}
"""

NODE = """
const [url, name] = process.argv.slice(2);
const http = require("node:http");
const agent = new http.Agent({keepAlive: true});
const byAgent = (body) => new Promise((resolve, reject) => {
  const request = http.request(url, {agent, method: "POST"}, (response) => {
    let text = "";
    response.on("data", (part) => { text += part; });
    response.on("end", () => resolve([response.statusCode, text]));
  });
  request.on("error", reject);
  request.end(body);
});
const byFetch = async (body) => {
  const response = await fetch(url, {method: "POST", body});
  return [response.status, await response.text()];
};
(async () => {
  for (const mark of ["results", "results", "event: done"]) {
    const body = JSON.stringify({query: "learn python", stream: mark.startsWith("event")});
    const [status, text] = await (name === "agent" ? byAgent : byFetch)(body);
    console.log(status, text.includes(mark) ? mark : text);
    await new Promise((resolve) => setImmediate(resolve));
  }
  agent.destroy();
})();
"""


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with Relay(server) as running:
        yield running


def run(command: list[str], **environment: str) -> list[str]:
    """Runs a client; returns the lines that it printed."""
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.slow
def test_the_client_of_the_jdk(relay: Relay, tmp_path: Path) -> None:
    """HttpClient, which offers h2c on each new connection, is answered by HTTP/1.1."""
    java = require_program("java", "default-jdk-headless")
    source = tmp_path / "Client.java"
    source.write_text(JAVA)
    assert run([java, str(source), f"{relay.url}/v1/reformulate"]) == ANSWERS
    assert relay.connections == 1


@pytest.mark.slow
def test_go(relay: Relay, tmp_path: Path) -> None:
    """net/http posts, reuses its connection and streams."""
    go = require_program("go", "golang-go")
    source = tmp_path / "client.go"
    source.write_text(GO)
    folders = {"GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path / "go")}
    offline = {"GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    command = [go, "run", str(source), f"{relay.url}/v1/reformulate"]
    assert run(command, **folders, **offline) == ANSWERS
    assert relay.connections == 1


def test_curl_with_http2(relay: Relay) -> None:
    """`curl --http2` posts twice and streams, and is answered by HTTP/1.1."""
    curl = require_program("curl", "curl")
    options = ["--silent", "--http2", "--output", "/dev/null"]
    options += ["--write-out", "%{http_code} %{http_version}\n"]
    command = [curl]
    for index, body in enumerate((BODY, BODY, STREAMED)):
        url = f"{relay.url}/v1/reformulate"
        command += [*(["--next"] if index else []), *options, "--data", body, url]
    assert run(command) == ["200 1.1"] * 3
    assert relay.connections == 1


@pytest.mark.parametrize("name", ["agent", "fetch"])
def test_node(relay: Relay, tmp_path: Path, name: str) -> None:
    """Node's agent and its fetch post, reuse a connection and stream."""
    node = require_program("node", "nodejs")
    script = tmp_path / "client.js"
    script.write_text(NODE)
    assert run([node, str(script), f"{relay.url}/v1/reformulate", name]) == ANSWERS
    assert relay.connections == 1
