"""How a model reranks, from the recipe to the file."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from support import reranked, tiny
from support.conversions import QUERIES, convert_reranker, reranked_relevance
from t5engine.reader import GGUFFile
from t5engine.relevance import Relevance, read_relevance
from t5gguf.commands import convert as convert_command
from t5gguf.convert import Converter
from t5gguf.errors import ConversionError
from t5gguf.recipe import Recipe, Source
from t5gguf.tasks import Rerank, Task
from t5gguf.writer import Provenance


def test_the_file_says_how_the_model_reranks(tmp_path: Path) -> None:
    """So that it is served without a recipe as with it."""
    metadata = GGUFFile.open(convert_reranker(tmp_path)).metadata
    assert metadata["t5serve.rerank.positive"] == reranked.POSITIVE
    assert metadata["t5serve.rerank.negative"] == reranked.NEGATIVE
    assert read_relevance(metadata) == reranked_relevance()


def test_other_files_say_nothing_of_it(tmp_path: Path) -> None:
    tiny.build("tied_relu", tmp_path / "source")
    converter = Converter(tmp_path / "source", Provenance("tiny"), QUERIES)
    written = converter.convert(tmp_path / "tiny.gguf", "F32", progress=False)
    assert not [key for key in GGUFFile.open(written.path).metadata if "rerank" in key]


def test_a_token_that_the_vocabulary_lacks_is_refused(tmp_path: Path) -> None:
    """Before anything is converted; U+2581 is part of a piece."""
    source = reranked.build(tmp_path / "source")
    for token in ("true", "\u2581veritable"):
        relevance = Relevance(reranked.TEMPLATE, token, reranked.NEGATIVE)
        with pytest.raises(ConversionError, match=f"'{token}', which the vocabulary lacks"):
            Converter(source, Provenance("reranked", rerank=relevance), QUERIES)


def test_a_trimmed_vocabulary_keeps_both_tokens(tmp_path: Path) -> None:
    """Though no line of the domain has them."""
    domain = tmp_path / "domain.txt"
    domain.write_text("how to cook rice\n", encoding="utf-8")
    provenance = Provenance("reranked", rerank=reranked_relevance())
    converter = Converter(reranked.build(tmp_path / "source"), provenance, QUERIES, domain=domain)
    tokens = converter.vocabulary.tokens
    assert len(tokens) < 2000
    assert {reranked.POSITIVE, reranked.NEGATIVE} <= set(tokens)


def test_a_recipe_s_rerank_reaches_the_converter() -> None:
    """With tasks or without them on the command line."""
    rerank = Rerank(reranked.TEMPLATE, reranked.POSITIVE, reranked.NEGATIVE)
    recipe = Recipe("a", "b", "MIT", "a.gguf", Source("o/a"), {"r": Task()}, rerank=rerank)
    parser = argparse.ArgumentParser()
    convert_command.add_arguments(parser)
    for options in ([], ["--prefix", "r=x: "]):
        parsed = parser.parse_args(["source", "--out", "a.gguf", *options])
        provenance = convert_command._build_provenance(parsed, recipe, None)  # type: ignore[arg-type]
        assert provenance.rerank == rerank
