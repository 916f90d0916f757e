"""t5engine.T5: a model in this process's hands, from threads and after forks."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.forking import in_fork
from support.included import QUERY, SEARCH
from support.memory import children, is_running
from t5engine import T5
from t5engine.api import GenerationParameters
from t5engine.decoding.parameters import GenerationConfig
from t5engine.errors import DeadlineExceeded, InputTooLong, InvalidInput, ModelLoadError

# Newer Pythons warn of forks in processes with threads, which is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "embedded.json").read_text())
CASES: list[dict[str, Any]] = GOLDEN["cases"][:60]
TEXT = f"search: {QUERY}"


@pytest.fixture(scope="module")
def t5(embedded: Path) -> Iterator[T5]:
    with T5(embedded, threads=1) as model:
        yield model


def test_generations_are_those_of_transformers(t5: T5) -> None:
    """Greedy decoding gives transformers' texts where no two tokens are nearly as likely."""
    clear = [case for case in CASES if case["gap"] > 0.2]
    generations = t5.generate([case["query"] for case in clear], max_tokens=32)
    assert len(clear) > 20
    assert [one.text for one in generations] == [case["text"] for case in clear]
    assert [one.prompt_tokens for one in generations] == [len(c["prompt_ids"]) for c in clear]


def test_scores_are_those_of_transformers(t5: T5) -> None:
    """A target's log-probability is transformers', but for the file's eight bits."""
    scores = t5.score([case["query"] for case in CASES], [case["text"] for case in CASES])
    targets = t5.tokenize([case["text"] for case in CASES])
    same = [
        (score.logprob, case["logprob"])
        for score, case, target in zip(scores, CASES, targets, strict=True)
        if target.ids == case["ids"]
    ]
    assert len(same) > 40
    assert [ours for ours, _ in same] == pytest.approx([theirs for _, theirs in same], abs=0.5)


def test_scores_are_those_of_the_generation(t5: T5) -> None:
    """The score of a generated text is the sum that its generation reports."""
    (generation,) = t5.generate(TEXT)
    (score,) = t5.score(TEXT, generation.text)
    assert score.logprob == pytest.approx(generation.outputs[0].logprob, abs=1e-4)
    assert "".join(score.tokens) == generation.text


def test_tokens_are_those_of_transformers(t5: T5) -> None:
    """The ids are those of the slow tokenizer, and the texts of the ids join to the text."""
    tokens = t5.tokenize([case["query"] for case in CASES])
    assert [one.ids for one in tokens] == [case["prompt_ids"] for case in CASES]
    assert "".join(t5.tokenize(TEXT)[0].texts) == TEXT


def test_parameters_are_hugging_face_s(t5: T5) -> None:
    """Beams, samples with a seed and stop strings work under their names."""
    (beams,) = t5.generate(TEXT, num_beams=4, num_return_sequences=3)
    assert len({output.text for output in beams.outputs}) == 3
    sampled = [t5.generate(TEXT, do_sample=True, seed=7)[0].text for _ in range(2)]
    assert sampled[0] == sampled[1]
    assert t5.generate(TEXT, stop=["clean"])[0].text == SEARCH.partition("clean")[0]
    assert GenerationParameters.__annotations__.keys() == set(GenerationConfig.__struct_fields__)


def test_many_texts_come_back_in_order(t5: T5) -> None:
    """More texts than the engine takes at a time are decoded, and answered in order."""
    texts = [f"paraphrase: how many legs have {number} dogs" for number in range(120)]
    together = t5.generate(texts, max_tokens=8)
    assert [one.text for one in together[::40]] == [
        t5.generate(text, max_tokens=8)[0].text for text in texts[::40]
    ]


def test_threads_share_it(t5: T5) -> None:
    """Calls from several threads get the answers that they get alone."""
    texts = [case["query"] for case in CASES[:24]]
    alone = [t5.generate(text)[0].text for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda text: t5.generate(text)[0].text, texts)) == alone


def test_a_fork_has_workers_of_its_own(t5: T5) -> None:
    """A forked process is answered, and so is its parent, before and after."""
    before = t5.generate(TEXT)[0].text
    assert in_fork(lambda: t5.generate(TEXT)[0].text) == before
    in_fork(t5.close)
    assert t5.generate(TEXT)[0].text == before


def test_a_fork_while_threads_call(t5: T5) -> None:
    """A fork in the middle of calls of other threads does not hang."""
    before = t5.generate(TEXT)[0].text
    texts = [TEXT] * 200
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(t5.generate, texts) for _ in range(4)]
        answers = [in_fork(lambda: t5.generate(TEXT)[0].text) for _ in range(3)]
        assert answers == [before] * 3
        assert {one.text for call in calls for one in call.result()} == {before}


def test_a_dead_worker_is_waited_for(embedded: Path) -> None:
    """A call after the death of the worker is answered by the next worker."""
    with T5(embedded, threads=1) as t5:
        before = t5.generate(TEXT)[0].text
        for worker in children(os.getpid(), "t5engine.worker", str(embedded))[-1:]:
            os.kill(worker, signal.SIGKILL)
        assert [one.text for one in t5.generate([TEXT] * 20)] == [before] * 20


def test_errors_name_what_is_wrong(t5: T5, tmp_path: Path) -> None:
    """A wrong file, parameter or text is an error of its own class."""
    with pytest.raises(ModelLoadError, match="No such file"):
        T5(tmp_path / "nothing.gguf")
    with pytest.raises(TypeError, match="there is no parameter beams"):
        t5.generate(TEXT, beams=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="out of range: num_beams"):
        t5.generate(TEXT, num_beams=0)
    with pytest.raises(ValueError, match=r"num_beams"):
        t5.generate(TEXT, num_beams="two")  # type: ignore[arg-type]
    with pytest.raises(InputTooLong):
        t5.generate("word " * 3000)
    with pytest.raises(InvalidInput, match=r"texts\[1\] is int"):
        t5.generate(["a", 1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="shorter"):
        t5.score(["a", "b"], ["c"])
    with pytest.raises(DeadlineExceeded):
        t5.generate([TEXT] * 500, timeout=0.05)


def test_a_closed_one_says_so(embedded: Path) -> None:
    """After its end the workers are gone, and a call is an error."""
    t5 = T5(embedded, threads=1)
    (worker,) = children(os.getpid(), "t5engine.worker", str(embedded))[-1:]
    t5.close()
    assert not is_running(worker)
    with pytest.raises(RuntimeError, match="was closed"):
        t5.generate(TEXT)


def test_a_forgotten_one_ends_its_workers(embedded: Path) -> None:
    """Without `close` the garbage collector ends the workers."""
    t5 = T5(embedded, threads=1)
    (worker,) = children(os.getpid(), "t5engine.worker", str(embedded))[-1:]
    assert is_running(worker)
    del t5
    gc.collect()
    assert not is_running(worker)


PARENT = """
import os, sys, time
from t5engine import T5
t5 = T5(sys.argv[1], threads=1)
if os.fork() == 0:
    time.sleep(120)
print("forked", flush=True)
time.sleep(120)
"""


def test_a_killed_parent_leaves_no_worker(embedded: Path) -> None:
    """Workers end with their parent though a forked process lives on."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(embedded)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"forked\n"
        (worker,) = children(parent.pid, "t5engine.worker")
        (fork,) = [pid for pid in children(parent.pid) if pid != worker]
        parent.kill()
    for _ in range(600):
        if not is_running(worker):
            break
        time.sleep(0.1)
    assert is_running(fork)
    os.kill(fork, signal.SIGKILL)
    assert not is_running(worker)


def test_a_program_that_does_not_close_ends(embedded: Path) -> None:
    """The end of a program ends the workers, without a word on standard error."""
    code = (
        "import sys; from t5engine import T5\n"
        f"t5 = T5(sys.argv[1], threads=1); print(t5.generate({TEXT!r})[0].text)"
    )
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, str(embedded)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONASYNCIODEBUG": "0"},
    )
    assert ran.stdout == f"{SEARCH}\n"
    assert ran.stderr == ""
