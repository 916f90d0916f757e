"""Examples of requests and answers in the API's description."""

from __future__ import annotations

from typing import Any

LIST_REQUEST: dict[str, Any] = {"query": "who lived longer, Nikola Tesla or Milutin Milankovic?"}
_ANSWERED: dict[str, Any] = {"score": -0.022034, "model_score": -0.022034, "source": "model"}
LIST_ANSWER: dict[str, Any] = {
    "id": "reformulate-c8b8c61e2a014d94929a9c6b5f25e441",
    "model": "listed",
    "created": 1795869263,
    "results": [
        {
            "original": LIST_REQUEST["query"],
            "queries": ["nikola tesla lifespan", "milutin milankovic lifespan"],
            "reformulations": [
                {"text": "nikola tesla lifespan", "rank": 1, "tokens": 5, **_ANSWERED},
                {"text": "milutin milankovic lifespan", "rank": 2, "tokens": 8, **_ANSWERED},
            ],
            "changed": True,
            "unchanged_reason": None,
            "fallback": False,
            "fallback_reason": None,
            "cached": False,
        }
    ],
    "timings_ms": {
        "queue": 0.013,
        "tokenize": 0.134,
        "encode": 0.269,
        "decode": 1.06,
        "total": 4.102,
    },
    "usage": {"prompt_tokens": 19, "completion_tokens": 15, "total_tokens": 34},
}

RERANK_EXAMPLE: dict[str, Any] = {
    "model": "monot5-base-msmarco",
    "query": "how do i clean a laptop screen",
    "documents": [
        "Wipe the display with a soft, slightly damp cloth.",
        "The best laptops of the year, tested.",
    ],
    "top_n": 1,
}
