import os
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader

from support import tiny
from t5engine.reader import GGUFFile
from t5gguf import __main__ as cli
from t5gguf import recipe, report

RECIPE = """\
name = "small"
description = "A model."
license = "Apache-2.0"
file = "small-F32.gguf"

[source]
repo = "owner/small"
revision = "abc123"

[tasks]
reformulate = "rewrite: "
paraphrase = "say it otherwise: "

[generation]
max_tokens = 20

[quantisation]
token_embedding_type = "F16"
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tiny.build("tied_relu", tmp_path_factory.mktemp("cli") / "source")
    (directory / "queries.txt").write_text("how to cook rice\nbest boots\n", encoding="utf-8")
    return directory


def run(source: Path, out: Path, *options: str) -> int:
    """Converts to F32 over two queries, quietly."""
    queries = str(source / "queries.txt")
    fixed = ("--out", str(out), "--type", "F32", "--quiet", "--queries", queries)
    return cli.main(["convert", str(source), *fixed, *options])


def stored_type(path: Path, name: str) -> str:
    return Type(GGUFFile.open(path).tensors[name].tensor_type).name


def metadata(path: Path) -> dict[str, object]:
    """The file's own keys, and its name and licence."""
    return {
        key: value
        for key, value in GGUFFile.open(path).metadata.items()
        if key.startswith("t5serve.") or key in {"general.name", "general.license"}
    }


def test_success_prints_size_and_figures(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.gguf"
    assert run(source, out) == 0
    printed = capsys.readouterr()
    assert "the file has no guards" in printed.out
    assert f"{out}: {out.stat().st_size / 1e6:.1f} MB, verified; logit error " in printed.out
    assert "same best token at 100.0% of positions" in printed.out
    assert not printed.err


def test_without_options_the_name_is_the_directorys(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says which name requests use, and how to choose another."""
    out = tmp_path / "out.gguf"
    assert run(source, out) == 0
    assert "its name in requests is 'source'; --name sets another" in capsys.readouterr().out
    written = metadata(out)
    assert written["general.name"] == "source"
    assert "t5serve.tasks" not in written
    assert "t5serve.generation.max_tokens" not in written


def test_a_recipes_values_land_in_the_file_and_options_override_them(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.toml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.setattr(recipe, "BUNDLED", tmp_path / "none")
    monkeypatch.setattr(recipe, "CHECKOUT", tmp_path)
    expected: dict[str, object] = {
        "general.name": "small",
        "general.license": "Apache-2.0",
        "t5serve.license": "Apache-2.0",
        "t5serve.source.repo": "owner/small",
        "t5serve.source.revision": "abc123",
        "t5serve.tasks": "reformulate,paraphrase",
        "t5serve.prefix.reformulate": "rewrite: ",
        "t5serve.prefix.paraphrase": "say it otherwise: ",
        "t5serve.generation.max_tokens": 20,
    }
    out = tmp_path / "out.gguf"
    assert run(source, out, "--type", "Q8_0", "--recipe", "small") == 0
    written = metadata(out)
    assert {key: written[key] for key in expected} == expected
    assert stored_type(out, "token_embd.weight") == "F16"
    options = ("--revision", "def456", "--prefix", "ask=q: ", "--max-tokens", "9", "--force")
    embedding = ("--type", "Q8_0", "--token-embedding-type", "Q8_0")
    assert run(source, out, "--recipe", "small", *options, *embedding) == 0
    written = metadata(out)
    assert written["t5serve.source.repo"] == "owner/small"
    assert written["t5serve.source.revision"] == "def456"
    assert (written["t5serve.tasks"], written["t5serve.prefix.ask"]) == ("ask", "q: ")
    assert "t5serve.prefix.reformulate" not in written
    assert written["t5serve.generation.max_tokens"] == 9
    assert stored_type(out, "token_embd.weight") == "Q8_0"


def test_a_prefix_may_hold_spaces_and_equal_signs(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    assert run(source, out, "--prefix", "rewrite=a = b: ", "--prefix", "plain=") == 0
    written = metadata(out)
    assert written["t5serve.tasks"] == "rewrite,plain"
    assert written["t5serve.prefix.rewrite"] == "a = b: "


@pytest.mark.parametrize("text", ["rewrite", "=rewrite: ", "re write=x", "a,b=x", ""])
def test_a_prefix_without_a_plain_task_name_is_a_usage_error(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        run(tmp_path, tmp_path / "out.gguf", "--prefix", text)
    assert error.value.code == 2
    assert "expected TASK=PREFIX, where TASK is a plain word" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "\u00b2", "many", ""])
def test_a_maximum_that_is_no_number_from_1_is_a_usage_error(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python calls a superscript two a digit, but can't read it as a number."""
    with pytest.raises(SystemExit) as error:
        run(tmp_path, tmp_path / "out.gguf", "--max-tokens", text)
    assert error.value.code == 2
    assert "--max-tokens: expected a number from 1" in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--type", "Q3_K"), ("--token-embedding-type", "Q3_K")])
def test_an_unknown_type_is_a_usage_error(
    options: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        run(tmp_path, tmp_path / "out.gguf", *options)
    assert error.value.code == 2
    assert "'Q3_K' is unknown; there are: F32, F16, " in capsys.readouterr().err


def test_faults_are_printed_one_a_line_without_a_traceback(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All faults are listed at once, and the status is 1."""
    wrong = tiny.build("gated_untied", tmp_path / "wrong")
    (wrong / "config.json").write_bytes((source / "config.json").read_bytes())
    (wrong / "queries.txt").write_text("x\n", encoding="utf-8")
    assert run(wrong, tmp_path / "out.gguf") == 1
    printed = capsys.readouterr()
    head, *faults = printed.err.splitlines()
    assert head == f"t5gguf: {wrong}: {len(faults)} fault(s)"
    # Two gates and a head too many, one `wi` too few in each of four layers.
    assert len(faults) == 4 * 3 + 1
    assert all(fault.startswith(("  missing: ", "  unknown: ", "  unequal: ")) for fault in faults)
    assert not printed.out
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recipe", "none"), "no recipe is named 'none'"),
        (("--queries", "none.txt"), "none.txt"),
        (("--calibrate", "none.txt"), "none.txt"),
        (("--calibrate", os.devnull), "has no query: expected one per line"),
        (("--imatrix-out", "x", "--no-calibration"), "there are no queries to calibrate with"),
        (("--trim-vocabulary", "none.txt"), "none.txt"),
        (("--trim-vocabulary", os.devnull), "has no text: expected a line for each query"),
        (("--imatrix-out", "."), "is a directory"),
        (("--out", "."), "is a directory"),
    ],
    ids=[
        "recipe",
        "queries",
        "none",
        "empty",
        "text",
        "no text",
        "matrix",
        "matrix directory",
        "directory",
    ],
)
def test_other_faults_are_one_line(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str],
    message: str,
) -> None:
    assert run(source, tmp_path / "out.gguf", *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("t5gguf: ")
    assert message in line


def test_queries_that_are_not_utf8_are_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_bytes("caf\u00e9s near me\n".encode("latin-1"))
    assert run(source, tmp_path / "out.gguf", "--queries", str(queries)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("t5gguf: 'utf-8' codec can't decode")


def test_queries_may_contain_sentinels(source: Path, tmp_path: Path) -> None:
    """Regression: the reference read them as text, unlike the engine, so all files failed."""
    queries = tmp_path / "queries.txt"
    queries.write_text("<extra_id_0>\nbest <extra_id_1> near<extra_id_2>me\n", encoding="utf-8")
    assert run(source, tmp_path / "out.gguf", "--queries", str(queries)) == 0


def test_an_existing_file_is_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.gguf").write_bytes(b"precious")
    assert run(source, tmp_path / "out.gguf") == 1
    assert "exists; --force overwrites it" in capsys.readouterr().err
    assert (tmp_path / "out.gguf").read_bytes() == b"precious"


def test_activations_too_large_for_f16_are_reported(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a limit of 0 any model exceeds it; the existing file ends the run early."""
    monkeypatch.setattr(report, "F16_INPUT_LIMIT", 0.0)
    (tmp_path / "out.gguf").write_bytes(b"precious")
    assert run(source, tmp_path / "out.gguf") == 1
    assert "ffn_down stays BF16 in F16 files" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("requested", ["F16", "F32", "Q4_0"])
def test_the_embeddings_type_can_be_chosen(requested: str, source: Path, tmp_path: Path) -> None:
    """The types are finer than the file's, ggml's type number 0, and coarser than the file's."""
    out = tmp_path / "out.gguf"
    options = ("--type", "Q8_0", "--token-embedding-type", requested, "--no-calibration")
    assert run(source, out, *options) == 0
    assert stored_type(out, "token_embd.weight") == requested
    assert stored_type(out, "enc.blk.0.attn_q.weight") == "Q8_0"


def test_a_group_of_tensors_may_have_another_type(source: Path, tmp_path: Path) -> None:
    """Several groups can have types; the embedding has two options."""
    out = tmp_path / "out.gguf"
    groups = ("--tensor-type", "attention=F16", "--tensor-type", "embedding=BF16")
    assert run(source, out, "--type", "Q8_0", "--token-embedding-type", "F32", *groups) == 0
    assert stored_type(out, "token_embd.weight") == "BF16"
    for part in ("attn_q", "attn_o", "cross_attn_k"):
        assert stored_type(out, f"dec.blk.0.{part}.weight") == "F16"
    assert stored_type(out, "dec.blk.0.ffn_up.weight") == "Q8_0"
    assert stored_type(out, "dec.blk.0.attn_norm.weight") == "F32"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("norm=F16", "group 'norm' is not one of embedding, attention, ffn"),
        ("attention=Q3_K", "type 'Q3_K' is not one of F32, F16"),
        ("attention", "type '' is not one of F32, F16"),
    ],
)
def test_an_unknown_group_or_type_of_it_is_a_usage_error(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        run(tmp_path, tmp_path / "out.gguf", "--tensor-type", text)
    assert error.value.code == 2
    assert f"--tensor-type: {message}" in capsys.readouterr().err


def count_calibration_queries(source: Path, out: Path, *options: str) -> object:
    """Converts; returns the number of calibration queries, None without calibration."""
    assert run(source, out, "--force", *options) == 0
    return metadata(out).get("t5serve.calibration.queries")


@pytest.mark.slow
def test_types_of_few_bits_are_calibrated_by_default(source: Path, tmp_path: Path) -> None:
    """The queries are the included ones, or those of a file, without empty lines."""
    queries = tmp_path / "calibration.txt"
    queries.write_text("how to boil rice\n\n \nwarm boots\n", encoding="utf-8")
    requested, out = ("--calibrate", str(queries)), tmp_path / "out.gguf"
    assert count_calibration_queries(source, out, "--type", "Q4_0") == 200
    assert count_calibration_queries(source, out, "--type", "Q4_0", *requested) == 2
    calibrated_bytes = out.read_bytes()
    assert count_calibration_queries(source, out, "--type", "Q4_0", "--no-calibration") is None
    assert out.read_bytes()[-50_000:] != calibrated_bytes[-50_000:]
    assert count_calibration_queries(source, out, "--type", "Q8_0", *requested) is None
    embedding = ("--token-embedding-type", "Q4_0")
    assert count_calibration_queries(source, out, "--type", "Q8_0", *embedding, *requested) == 2


@pytest.mark.slow
def test_a_recipe_may_refuse_calibration(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file on the command line takes precedence over the recipe."""
    (tmp_path / "recipes").mkdir()
    refusing = f"{RECIPE}calibration = false\n"
    (tmp_path / "recipes" / "small.toml").write_text(refusing, encoding="utf-8")
    monkeypatch.setattr(recipe, "BUNDLED", tmp_path / "none")
    monkeypatch.setattr(recipe, "CHECKOUT", tmp_path)
    options = ("--type", "Q4_0", "--recipe", "small")
    assert count_calibration_queries(source, tmp_path / "out.gguf", *options) is None
    requested = ("--calibrate", str(source / "queries.txt"))
    assert count_calibration_queries(source, tmp_path / "out.gguf", *options, *requested) == 2


def test_an_importance_matrix_is_written_beside_any_type(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An existing file is not overwritten."""
    matrix = tmp_path / "imatrix.gguf"
    options = ("--imatrix-out", str(matrix), "--calibrate", str(source / "queries.txt"))
    assert run(source, tmp_path / "out.gguf", *options) == 0
    fields = GGUFReader(matrix).fields
    assert fields["imatrix.chunk_count"].contents() == 2
    (tmp_path / "out.gguf").unlink()
    capsys.readouterr()
    assert run(source, tmp_path / "out.gguf", *options) == 1
    assert f"{matrix} exists; --force overwrites it" in capsys.readouterr().err
    assert not (tmp_path / "out.gguf").exists()


def test_calibration_options_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        run(tmp_path, tmp_path / "out.gguf", "--calibrate", "x", "--no-calibration")
    assert error.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_trimming_reports_kept_rows_and_saved_bytes(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The saved bytes of the weights are those of the rows that were left out."""
    out = tmp_path / "out.gguf"
    text = str(source / "queries.txt")
    assert run(source, out, "--prefix", "ask=ask: ", "--trim-vocabulary", text) == 0
    printed = capsys.readouterr().out
    stored = GGUFFile.open(out).tensors
    rows = metadata(out)["t5serve.vocab_size"]
    summary, *_ = printed.splitlines()
    expected = (
        f"kept {rows} of the vocabulary's 320 rows; of 2 sample queries 2 are split into the same "
    )
    assert summary.startswith(expected)
    assert summary.endswith(" get the same answer")
    weights = sum(tensor.nbytes for tensor in stored.values())
    missing = (320 - stored["token_embd.weight"].shape[0]) * 64 * 4
    assert missing > 0
    assert f"weights: {weights:,} bytes instead of {weights + missing:,}; " in printed
    # Two layers: q, k, v, o and the cross-attention's q and o, ffn, norms; a bias, norm and head.
    layer = 6 * 64 * 64 + 2 * 64 * 128 + 3 * 64
    step = 4 * (2 * layer + 32 * 4 + 64) + stored["token_embd.weight"].nbytes
    assert f"a decode step reads {step:,} instead of {step + missing:,}" in printed
