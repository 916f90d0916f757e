"""What is asked of models, what their answers become, and the tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evaluate
from support.fakes import FakePool, answer, settle, with_engine
from t5engine.pool.engine import Engine
from t5eval import evaluation, plot, report, service, systems
from t5eval.collection import Collection, Query
from t5eval.errors import EvaluationError
from t5eval.evaluation import Plan
from t5eval.messages import Answer, Request
from t5eval.pairs import Pair
from t5gguf.recipe import Generation
from t5gguf.tasks import Task
from t5serve.concurrency import gather
from t5serve.reformulation.options import Options
from t5serve.reformulation.profile import Profile
from t5serve.reformulation.reformulator import Reformulator

PROFILE = Profile.of_prefixes({"paraphrase": "", "fix": "fix: "}, Generation())
QUERY = Query("q", frozenset({0}))
PLAN = Plan(
    single=Options(task="fix", strategy="beam"),
    several=Options(task="fix", n=3),
    pairs={"set": {"expand": [Pair("expand", "a", "b")], None: [Pair(None, "c", "d")]}},
    collections=[Collection("small", ["x"], [QUERY])],
    counts={},
)
RESULTS: dict[str, Any] = {
    "models": ["one", "other"],
    "pairs": [
        {
            "set": "test",
            "task": "fix",
            "pairs": 2,
            "signatures": {"bleu": "nrefs:1"},
            "systems": {
                name: {
                    **dict.fromkeys(report.SCORES, 40.0),
                    **dict.fromkeys(report.SHARES, 0.25),
                    **dict.fromkeys(("distinct_1", "distinct_2"), None),
                }
                for name in ("one", "other")
            },
            "examples": [
                {"source": "a|b", "target": "c", "outputs": {"one": "d", "other": "e"}},
            ],
        }
    ],
    "agreement": [{"one": "one", "other": "other", "equal": 0.5}],
    "collections": [
        {
            "name": "small",
            "documents": 9,
            "queries": 2,
            "fell_back": {"one": 0.0},
            "rows": [
                {"searched_by": "original", "system": None}
                | dict.fromkeys(("nDCG@10", "recall@100", "MRR"), 0.5),
                {"searched_by": "original + 3 fused", "system": "one"}
                | dict.fromkeys(("nDCG@10", "recall@100", "MRR"), 0.75)
                | {"nDCG@10 p": 0.01, "recall@100 p": 0.2, "MRR p": 1.0},
            ],
        }
    ],
}


def test_answers_come_in_order_with_prefixes_and_fallbacks() -> None:
    """Whatever the engine finishes first; an output without words leaves the query."""

    async def use(engine: Engine, pool: FakePool) -> None:
        requests = [Request("a", Options()), Request("b", Options(task="fix"))]
        answers: list[Answer] = []

        async def ask() -> None:
            answers.extend(await service.reformulate_all(Reformulator(engine, PROFILE), requests))

        async def play() -> None:
            await settle()
            first, second = pool.newest.inbox
            assert getattr(second, "text", "") == "fix: b"
            pool.newest.reply(answer(second, "better b"))
            pool.newest.reply(answer(first, " "))

        await gather([ask(), play()])
        assert answers == [Answer(["a"], fell_back=True), Answer(["better b"], scores=[-0.5])]

    with_engine(use, capacity=2, max_queue=service.CONCURRENCY)


def test_names_tell_models_apart() -> None:
    """Files lose their suffix, trainings are called by their own name; no two are alike."""
    assert systems.name_models(["x/tiny-Q8_0.gguf", "tiny-t5", "y/run.1", "run2/checkpoint"]) == [
        "tiny-Q8_0",
        "tiny-t5",
        "run.1",
        "run2",
    ]
    with pytest.raises(EvaluationError, match="one name"):
        systems.name_models(["x/a.gguf", "y/a.gguf"])


def test_requests_of_a_plan() -> None:
    """Pairs keep their task; only models that are compared are asked greedily as well."""
    batches = evaluation.build_requests(PLAN, several_models=False)
    assert batches == {
        ("pairs", "set", "expand"): [Request("a", Options(task="expand", strategy="beam"))],
        ("pairs", "set", ""): [Request("c", Options(task=None, strategy="beam"))],
        ("single", "small"): [Request("q", PLAN.single)],
        ("several", "small"): [Request("q", PLAN.several)],
    }
    more = evaluation.build_requests(PLAN, several_models=True)
    assert more.keys() - batches.keys() == {("greedy", "set", "expand"), ("greedy", "set", "")}
    assert more["greedy", "set", "expand"][0].options.strategy == "greedy"
    greedy = replace(PLAN, single=Options(strategy="greedy", parameters={"seed": 3}))
    assert evaluation.build_requests(greedy, several_models=True).keys() == batches.keys()


def test_pairs_may_be_asked_as_the_recipe_says() -> None:
    """With the beams and the guards of a request that sets nothing; other tasks as before."""
    task = Task(template="expand: {query}", n=3, num_beams=6, preserve=["numbers"])
    batches = evaluation.build_requests(replace(PLAN, tasks={"expand": task}), several_models=False)
    (request,) = batches["pairs", "set", "expand"]
    assert request.options == Options.for_task(task, task="expand", n=1)
    (request,) = batches["pairs", "set", ""]
    assert request.options == replace(PLAN.single, task=None)


def test_agreement_is_of_greedy_answers() -> None:
    """Those asked for as such, or the pairs' own if these are greedy."""
    key = ("set", "fix")
    for plain in (True, False):
        batches: evaluation.Batches = {("pairs", *key): [Request("a", Options())]}
        answers: dict[str, dict[evaluation.Key, list[Answer]]] = {
            name: {("pairs", *key): [Answer([name])]} for name in ("one", "other")
        }
        if not plain:
            batches["greedy", *key] = [Request("a", Options(strategy="greedy"))]
            for by_key in answers.values():
                by_key["greedy", *key] = [Answer(["same"])]
        agreement = evaluation._compare_models(batches, answers)
        assert agreement == [{"one": "one", "other": "other", "equal": 0.0 if plain else 1.0}]
    assert evaluation._compare_models({("single", "small"): []}, {"one": {}, "other": {}}) == []


def test_what_a_model_cannot_do_is_found_before_any_is_asked_for_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One request of each kind goes to every model first."""
    asked: list[tuple[str, int]] = []
    plan = replace(PLAN, collections=[replace(PLAN.collections[0], queries=[QUERY] * 9)])

    def answer_requests(model: str, requests: list[Request], _: object) -> list[Answer]:
        asked.append((model, len(requests)))
        if model == "other":
            raise EvaluationError("no task")
        return [Answer(["x"]) for _ in requests]

    monkeypatch.setattr(systems, "answer_requests", answer_requests)
    monkeypatch.setattr(systems, "check_model", lambda _: None)
    with pytest.raises(EvaluationError, match="no task"):
        evaluation.evaluate(["one", "other"], plan)
    assert asked == [("one", 6), ("other", 6)]


def test_tables() -> None:
    """Shares in percent, p-values below 0.05 in bold, bars inside texts escaped."""
    text = report.format_report(RESULTS)
    lines = text.splitlines()
    assert "## test, fix: 2 pairs" in lines
    assert "| BLEU | 40.0 | 40.0 |" in lines
    assert "| copies of the input | 25.0 % | 25.0 % |" in lines
    assert "| distinct-1 |  |  |" in lines
    assert "| a\\|b | c | d | e |" in lines
    assert "| one | other | 50.0 % |" in lines
    assert "| original |  | 0.5000 |  | 0.5000 |  | 0.5000 |  |" in lines
    row = "| original + 3 fused | one | 0.7500 | **0.0100** | 0.7500 | 0.2000 | 0.7500 | 1.0000 |"
    assert row in lines
    assert "similarity" not in text


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    """A panel for the pairs and one for the collection."""
    pytest.importorskip("matplotlib")
    plot.save(RESULTS, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def write_cranfield(directory: Path) -> None:
    """A document, a query and its judgement."""
    directory.mkdir(parents=True)
    (directory / "cran.all.1400").write_text(".I 1\n.T\na\n.W\na wing\n")
    (directory / "cran.qry").write_text(".I 001\n.W\nwhat wings\n")
    (directory / "cranqrel").write_text("1 1 2\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate on"),
        (["--pairs", "no.tsv"], "no.tsv"),
        (["--collections", "nowhere"], "nowhere"),
        (["--collections", "{0}/a/cranfield", "{0}/b/cranfield"], "two collections have one name"),
    ],
)
def test_what_cannot_be_evaluated(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line that says what, and exit code 1."""
    data = tmp_path / "data"
    for name in ("a", "b"):
        write_cranfield(data / name / "cranfield")
    formatted = [argument.format(data) for argument in arguments]
    out = tmp_path / "out" / "x"
    monkeypatch.setattr(
        "sys.argv", ["evaluate", "m.gguf", "--out", str(out), "--no-semantics", *formatted]
    )
    monkeypatch.setattr(evaluate, "REQUIRED", ())
    assert evaluate.main() == 1
    assert message in capsys.readouterr().err
    assert not out.parent.exists()


def test_a_missing_extra_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not after an hour of decoding."""
    monkeypatch.setattr("sys.argv", ["evaluate", "m.gguf", "--out", str(tmp_path / "x")])
    monkeypatch.setattr(evaluate, "REQUIRED", ("json", "no_such_package"))
    assert evaluate.main() == 1
    assert "no_such_package" in capsys.readouterr().err
