from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

import policies
from policies import Row, format_table, parse_policy
from support import tiny
from t5gguf.errors import ConversionError
from t5gguf.tensor_map import Role
from t5gguf.verify import LogitComparison

QUERIES = ["how to cook rice", "best hiking boots for wide feet 2024", "", "python read csv"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tiny.build("restless", tmp_path_factory.mktemp("policies") / "source")
    (directory / "queries.txt").write_text("\n".join(QUERIES), encoding="utf-8")
    return directory


def run(source: Path, *arguments: str) -> int:
    fixed = ("--prefix", "ask: ", "--max-tokens", "12", "--queries", str(source / "queries.txt"))
    return policies.main([str(source), *fixed, *arguments])


def test_a_policy_is_a_type_and_groups_that_have_others() -> None:
    """The head goes with the embedding, gate and up with ffn_down."""
    assert parse_policy("Q8_0") == ("Q8_0", {})
    assert parse_policy("Q4_0,embedding=Q6_K,ffn=F32") == (
        "Q4_0",
        {
            Role.EMBEDDING: Type.Q6_K,
            Role.HEAD: Type.Q6_K,
            Role.FFN: Type.F32,
            Role.FFN_DOWN: Type.F32,
        },
    )
    assert parse_policy("Q4_0,ffn=Q8_0,ffn=Q6_K")[1][Role.FFN] is Type.Q6_K


@pytest.mark.parametrize("policy", [*policies.DEFAULT_POLICIES, policies.BASELINE])
def test_the_usual_policies_can_be_read(policy: str) -> None:
    file_type, types = parse_policy(policy)
    assert policy.startswith(file_type)
    assert bool(types) == ("," in policy)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("Q4_0,head=Q8_0", "group 'head' is not one of embedding, attention, ffn"),
        ("Q4_0,ffn=Q3_K", "type 'Q3_K' is not one of F32, F16"),
        ("Q4_0,ffn", "type '' is not one of F32, F16"),
        ("Q4_0,", "group '' is not one of embedding"),
    ],
)
def test_an_unknown_group_or_type_is_told(policy: str, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        parse_policy(policy)


def test_answers_are_compared_with_the_first_rows() -> None:
    """To the last token; sizes are in millions of bytes."""
    rows = [
        Row("F16", 14_600_000, 7_000_000, LogitComparison(0.0005, 0.01, 1.0), [[3, 4], [5]]),
        Row("Q4_0", 4_236_000, 2_000_000, LogitComparison(0.1234, 1.0, 0.987), [[3, 4], [5, 6]]),
    ]
    assert format_table(rows).splitlines() == [
        "| policy | file | a step reads | logit error | same best token | same answer as F16 |",
        "|---|---|---|---|---|---|",
        "| F16 | 14.60 MB | 7.00 MB | 0.0005 | 100.0% | 100.0% |",
        "| Q4_0 | 4.24 MB | 2.00 MB | 0.1234 | 98.7% | 50.0% |",
    ]


@pytest.mark.slow
def test_a_checkpoint_is_measured(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file in F16 first, against itself; then what was asked for, of other bytes and logits."""
    assert run(source, "Q8_0", "Q8_0,attention=F16", "--rounds", "1") == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[0] for row in cells] == ["F16", "Q8_0", "Q8_0,attention=F16"]
    assert cells[0][-3:-1] == ["100.0%", "100.0%"]
    assert all(float(row[-1].removesuffix(" ms")) > 0 for row in cells)
    f16, q8_0, mixed = ([float(cell.split()[0]) for cell in row[1:4]] for row in cells)
    for column in (0, 1):  # file and step: in F16, in between, in Q8_0
        assert q8_0[column] < mixed[column] < f16[column]
    assert f16[2] < min(q8_0[2], mixed[2])


def test_what_can_not_be_made_is_one_line(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(source, "Q3_K") == 1
    assert capsys.readouterr().err.startswith("policies: type 'Q3_K' is not one of F32, F16")
    (tmp_path / "queries.txt").write_text(" \n", encoding="utf-8")
    assert policies.main([str(source), "--queries", str(tmp_path / "queries.txt")]) == 1
    assert capsys.readouterr().err.endswith("has no query: expected one per line\n")
