"""POST /v1/rerank and /v2/rerank over real sockets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from support import reranked
from support.rewriting import rewrite
from support.serving import Server, start, stop
from t5engine import T5
from t5engine.errors import InputTooLong

Json = dict[str, Any]
QUERY = "how do i clean a laptop screen"
DOCUMENTS = [
    "Wipe the display with a soft, slightly damp cloth.",
    "The best laptops of the year, tested.",
    "How to cook rice.",
    "The best laptops of the year, tested.",
]
LONG = "wipe the screen with a cloth " * 400


def ask(server: Server, body: Json, path: str = "/v1/rerank") -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60)


def rerank(server: Server, **body: Any) -> Json:
    response = ask(server, {"query": QUERY, "documents": DOCUMENTS, **body})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def test_the_answer_has_every_document_best_first(
    rerank_server: Server, reranker_file: Path
) -> None:
    """The scores are those of `T5.rank`; documents of equal relevance keep their order."""
    answer = rerank(rerank_server)
    with T5(reranker_file) as t5:
        expected = t5.rank(QUERY, DOCUMENTS)
        tokens = [
            t5.tokenize(reranked.TEMPLATE.replace("{query}", QUERY).replace("{document}", document))
            for document in DOCUMENTS
        ]
    assert [result["index"] for result in answer["results"]] == [one.index for one in expected]
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == pytest.approx([one.score for one in expected], abs=1e-6)
    assert all(0 < score < 1 for score in scores)
    equal = [one["index"] for one in answer["results"] if DOCUMENTS[one["index"]] == DOCUMENTS[1]]
    assert equal == [1, 3]
    assert answer.keys() == {"id", "model", "results", "usage"}
    assert answer["model"] == "reranked"
    assert answer["usage"] == {"total_tokens": sum(len(one.ids) for (one,) in tokens)}
    assert all(result.keys() == {"index", "relevance_score"} for result in answer["results"])


def test_both_paths_are_the_same(rerank_server: Server) -> None:
    body = {"model": "reranked", "query": QUERY, "documents": DOCUMENTS}
    first, second = (ask(rerank_server, body, path).json() for path in ("/v1/rerank", "/v2/rerank"))
    assert first["results"] == second["results"]


def test_top_n_and_documents(rerank_server: Server) -> None:
    """Fewer documents are the best ones; texts come back on demand, of either form."""
    everything = rerank(rerank_server)["results"]
    documents = [*DOCUMENTS[:2], {"text": DOCUMENTS[2], "id": 7}, DOCUMENTS[3]]
    best = rerank(rerank_server, documents=documents, top_n=2, return_documents=True)["results"]
    assert [{**result, "document": None} for result in best] == [
        {**result, "document": None} for result in everything[:2]
    ]
    assert [one["document"] for one in best] == [{"text": DOCUMENTS[one["index"]]} for one in best]
    assert len(rerank(rerank_server, top_n=100)["results"]) == len(DOCUMENTS)


def test_a_long_document_is_shortened(rerank_server: Server) -> None:
    """Its end is left out, and the template around it is whole."""
    answer = rerank(rerank_server, documents=[LONG, LONG + "and rinse"])
    assert answer["usage"]["total_tokens"] <= 2 * 512
    assert answer["usage"]["total_tokens"] > 2 * 500
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores[0] == scores[1]


def test_a_document_of_many_characters_is_the_same_in_python(
    rerank_server: Server, reranker_file: Path
) -> None:
    """What no worker would read is left out on both ways, and changes nothing."""
    documents = ["x" * 90_000, "wipe   it " * 9_000, LONG]
    results = rerank(rerank_server, documents=documents)["results"]
    with T5(reranker_file) as t5:
        ranked = t5.rank(QUERY, documents)
        with pytest.raises(InputTooLong, match="the input has"):
            t5.rank("clean " * 2000, ["a"])
    assert [one.index for one in ranked] == [one["index"] for one in results]


def test_blanks_do_not_make_a_document_too_long(rerank_server: Server) -> None:
    """The tokenizer merges them, however many there are."""
    spaced = DOCUMENTS[0].replace(" ", " " * 2000)
    answer = rerank(rerank_server, documents=[DOCUMENTS[0], spaced], truncate=False)
    first, second = (result["relevance_score"] for result in answer["results"])
    assert first == second


NO_DOCUMENT = {"query": QUERY, "documents": []}
REFUSED: dict[str, tuple[Json, str, str]] = {
    "no documents": (NO_DOCUMENT, "documents", "at least 1 item"),
    "1,001 documents": ({"documents": ["a"] * 1001}, "documents", "at most 1000 items"),
    "an empty document": ({"documents": ["a", ""]}, "documents[1]", "must not be blank"),
    "a blank document": ({"documents": [{"text": " \n"}]}, "documents[0]", "must not be blank"),
    "a document without text": ({"documents": [{"title": "a"}]}, "documents[0]", '"text"'),
    "a number": ({"documents": [1]}, "documents[0]", "must be a string"),
    "a blank query": ({"query": " "}, "query", "must not be blank"),
    "no query": ({"query": None}, "query", "required"),
    "too long": (
        {"documents": ["a", LONG], "truncate": False},
        "documents[1]",
        "at most",
    ),
    "too long, in Jina's word": (
        {"documents": ["a", "b", LONG], "truncation": False},
        "documents[2]",
        "at most",
    ),
    "a query too long": ({"query": "clean " * 600}, "query", "at most 512 are allowed"),
    "a query of many characters": ({"query": "clean " * 2000}, "query", "the input has 11"),
    "too many characters": (
        {"documents": ["a", "x" * 90_000], "truncate": False},
        "documents[1]",
        "documents[1]: the input has 90",
    ),
    "top_n 0": ({"top_n": 0}, "top_n", "greater than or equal to 1"),
    "other fields to rank": ({"rank_fields": ["title"]}, "rank_fields", '["text"]'),
    "chunks": ({"max_chunks_per_doc": 10}, "max_chunks_per_doc", "not split"),
    "shorter documents": ({"max_tokens_per_doc": 64}, "max_tokens_per_doc", "at least 512"),
    "embeddings": ({"return_embeddings": True}, "return_embeddings", "False"),
    "a deadline too late": ({"timeout_ms": 60001}, "timeout_ms", "at most 60000"),
    "an unknown field": ({"relevant_spans": {}}, "relevant_spans", "unknown field"),
}


@pytest.mark.parametrize(("changes", "param", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused(
    rerank_server: Server, changes: Json, param: str, message: str
) -> None:
    """The answer is 400, names the field, and says what is expected."""
    response = ask(rerank_server, {"query": QUERY, "documents": DOCUMENTS, **changes})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert message in error["message"]


def test_a_document_too_long_has_its_own_code(rerank_server: Server) -> None:
    """As prompts that are too long have it."""
    body = {"query": QUERY, "documents": ["a", LONG], "truncate": False}
    error = ask(rerank_server, body).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("documents[1]: the input has")


def test_neutral_fields_of_other_services_are_accepted(rerank_server: Server) -> None:
    neutral = {
        "top_n": None,
        "rank_fields": ["text"],
        "max_chunks_per_doc": 1,
        "max_tokens_per_doc": 4096,
        "priority": 3,
        "return_embeddings": False,
    }
    assert rerank(rerank_server, **neutral)["results"] == rerank(rerank_server)["results"]


def test_a_model_that_does_not_rerank(server: Server) -> None:
    """A clear 400, also for the default model."""
    for body in ({"model": "tiny-t5"}, {}):
        response = ask(server, {**body, "query": QUERY, "documents": DOCUMENTS})
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "model")
        assert "tiny-t5 does not rerank" in error["message"]
    response = ask(server, {"model": "other", "query": QUERY, "documents": DOCUMENTS})
    assert response.status_code == 404


def test_models_say_whether_they_rerank(server: Server, rerank_server: Server) -> None:
    for running, reranks in ((server, False), (rerank_server, True)):
        (model,) = httpx.get(f"{running.url}/v1/models").json()["data"]
        assert model["reranks"] is reranks


def test_known_relevance_is_not_computed_again(rerank_server: Server) -> None:
    """Only documents that are new count as judged; `cache: false` judges all of them."""

    def judged() -> float:
        lines = httpx.get(f"{rerank_server.url}/metrics").text.splitlines()
        prefix = "t5serve_judged_documents_total{"
        return sum(float(line.split()[-1]) for line in lines if line.startswith(prefix))

    documents = [f"wipe the screen {number} times" for number in range(5)]
    before = judged()
    first = rerank(rerank_server, documents=documents)
    assert judged() - before == 5
    again = rerank(rerank_server, documents=[*documents, "a new one"])
    assert judged() - before == 6
    assert first["results"] == [one for one in again["results"] if one["index"] < 5]
    fresh = rerank(rerank_server, documents=documents, cache=False)["results"]
    assert fresh == [
        {**one, "relevance_score": pytest.approx(one["relevance_score"], abs=1e-6)}
        for one in first["results"]
    ]
    assert judged() - before == 11
    rerank(rerank_server, query="another query", documents=documents)
    assert judged() - before == 16


def test_a_thousand_documents(rerank_server: Server) -> None:
    """Equal ones are judged once, and each has its place."""
    documents = [f"document {number % 50} of the collection" for number in range(1000)]
    results = rerank(rerank_server, documents=documents)["results"]
    assert sorted(result["index"] for result in results) == list(range(1000))
    order = [(-result["relevance_score"], result["index"]) for result in results]
    assert order == sorted(order)


def test_what_can_not_end_in_time_is_refused_at_once(reranker_file: Path) -> None:
    """A deadline that a thousand documents can't meet is 504, and no document is judged."""
    running = start(model=str(reranker_file), threads="1")
    running.wait_until_ready()
    documents = [f"{number} " + "clean the screen " * 50 for number in range(1000)]
    body = {"query": QUERY, "documents": documents, "timeout_ms": 20}
    response = ask(running, body)
    assert response.status_code == 504
    assert "for 1000 inputs" in response.json()["error"]["message"]
    assert "t5serve_judged_documents_total{" not in httpx.get(f"{running.url}/metrics").text
    stop(running)


def test_a_token_that_the_vocabulary_lacks_is_not_served(
    reranker_file: Path, tmp_path: Path
) -> None:
    """The service says which token it is, and ends."""
    changes = {"t5serve.rerank.positive": "\u2581veritable"}
    running = start(model=str(rewrite(reranker_file, tmp_path / "x.gguf", changes)))
    output = running.wait()
    assert running.process.returncode != 0
    assert "the token '\u2581veritable', which the vocabulary lacks" in output


def test_keys_that_contradict_themselves_are_not_served(
    reranker_file: Path, tmp_path: Path
) -> None:
    """A template without a document can't be meant."""
    changes = {"t5serve.rerank.template": "Query: {query}"}
    running = start(model=str(rewrite(reranker_file, tmp_path / "x.gguf", changes)))
    output = running.wait()
    assert running.process.returncode != 0
    assert "needs {document} exactly once" in output
