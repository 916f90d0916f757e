from pathlib import Path
from typing import Any

import pytest

from support import tiny
from support.samples import write_json
from t5engine.reader import GGUFFile
from t5gguf import __main__ as cli
from t5gguf.generation_config import GenerationDefaults, read_defaults
from t5gguf.report import describe_defaults


@pytest.mark.parametrize(
    ("fields", "values", "ignored"),
    [
        ({}, {}, ()),
        ({"num_beams": 4, "length_penalty": 0.6}, {"num_beams": 4, "length_penalty": 0.6}, ()),
        ({"num_beams": 1, "do_sample": False, "top_k": 0}, {}, ()),
        ({"do_sample": True, "top_p": 0.9}, {"top_p": 0.9, "top_k": 50}, ()),
        ({"do_sample": True, "top_k": 10}, {"top_k": 10}, ()),
        ({"num_beams": 4, "num_beam_groups": 2}, {"num_beams": 4, "num_beam_groups": 2}, ()),
        ({"max_new_tokens": 20}, {"max_tokens": 20}, ()),
        ({"max_length": 64}, {"max_tokens": 63}, ()),
        ({"max_length": 512}, {"max_tokens": 128}, ("max_length 512 (at most 128)",)),
        ({"max_length": 64, "max_new_tokens": 20}, {"max_tokens": 20}, ()),
        ({"forced_bos_token_id": 5}, {}, ("forced_bos_token_id 5",)),
        ({"early_stopping": True}, {}, ("early_stopping True",)),
        ({"bad_words_ids": [[3]]}, {}, ("bad_words_ids [[3]]",)),
        ({"num_beams": 50}, {}, ("num_beams 50",)),
        ({"temperature": "warm"}, {}, ("temperature 'warm'",)),
        ({"pad_token_id": 0, "eos_token_id": 1, "transformers_version": "4.56.2"}, {}, ()),
    ],
)
def test_defaults_that_the_engine_has_are_read_and_others_named(
    tmp_path: Path, fields: dict[str, Any], values: dict[str, Any], ignored: tuple[str, ...]
) -> None:
    """Names and meanings are transformers' GenerationConfig's; its sampling has top_k 50."""
    write_json(tmp_path / "generation_config.json", fields)
    read = read_defaults(tmp_path)
    strategy = read.values.get("strategy")
    assert {name: read.values[name] for name in read.values if name != "strategy"} == values
    expected = None
    if fields.get("do_sample"):
        expected = "sample"
    elif "num_beam_groups" in values:
        expected = "diverse_beam"
    elif "num_beams" in values:
        expected = "beam"
    assert strategy == expected
    assert read.ignored == ignored


def test_the_output_names_both() -> None:
    defaults = GenerationDefaults({"num_beams": 4}, ("bad_words_ids [[3]]",))
    assert list(describe_defaults(defaults)) == [
        "generation_config.json: the file's defaults are num_beams 4",
        "generation_config.json: not supported, left out: bad_words_ids [[3]]",
    ]
    assert list(describe_defaults(GenerationDefaults({}, ()))) == []


def convert(source: Path, out: Path, *options: str) -> int:
    (source / "queries.txt").write_text("how to cook rice\n", encoding="utf-8")
    queries = ("--queries", str(source / "queries.txt"), "--no-calibration")
    return cli.main(["convert", str(source), "--out", str(out), "--quiet", *queries, *options])


def test_a_converted_file_has_the_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`t5gguf convert` writes them into the file; `--max-tokens` goes before them."""
    source = tiny.build("tied_relu", tmp_path / "source")
    fields = {"num_beams": 4, "max_length": 30, "diversity_penalty": 0.5, "sequence_bias": {"a": 1}}
    write_json(source / "generation_config.json", fields)
    assert convert(source, tmp_path / "x.gguf", "--type", "F32", "--max-tokens", "9") == 0
    metadata = GGUFFile.open(tmp_path / "x.gguf").metadata
    assert metadata["t5serve.generation.num_beams"] == 4
    assert metadata["t5serve.generation.strategy"] == "beam"
    assert metadata["t5serve.generation.max_tokens"] == 9
    assert "left out: sequence_bias {'a': 1}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file_type", "label", "said"),
    [
        ("Q4_0", 1, "F16 instead of Q4_0, whose rows are multiples of 32 (theirs: 40, 72)"),
        ("Q8_0", 1, "F16 instead of Q8_0, whose rows are multiples of 32 (theirs: 40, 72)"),
        ("F16", 1, None),
        ("F32", 0, None),
    ],
)
def test_a_file_is_labelled_as_what_is_in_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file_type: str,
    label: int,
    said: str | None,
) -> None:
    """Widths that a type can't hold give F16; the output and the label say so."""
    config = tiny.FLAVOURS["tied_relu"] | {"d_model": 40, "d_kv": 10, "d_ff": 72}
    source = tiny.build_config(config, tmp_path / "source")
    assert convert(source, tmp_path / "x.gguf", "--type", file_type) == 0
    assert GGUFFile.open(tmp_path / "x.gguf").metadata["general.file_type"] == label
    out = capsys.readouterr().out
    assert (said in out) if said else ("instead of" not in out)
