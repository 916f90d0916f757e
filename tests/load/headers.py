"""Loads files whose headers were changed at random: each is refused in a line, or served.

`python tests/load/headers.py FILE.gguf --count 2000`: no hang, no traceback, no abort. Each file is
loaded, as a worker loads it, and decodes a few tokens, in a process of its own. A short form is
among the integration tests.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from t5engine.reader import ALIGNMENT, SCALAR_FORMATS, GGUFFile

SECONDS = 30.0  # for a file that takes milliseconds
KEY = re.compile(rb"(?:general|t5|t5serve|tokenizer\.ggml)\.[a-z_.]+(?=[\x00-\x0c]\0\0\0)")
EXTREMES = (0, 1, 2, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = (*range(9), 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1000, *EXTREMES)
OTHER_KEYS = (
    "split.count",
    "t5.attention.causal",
    "t5.attention.head_count_kv",
    "t5.attention.layer_norm_epsilon",
    "t5.decoder_block_count",
    "t5.expert_count",
    "t5.expert_used_count",
    "t5.pooling_type",
    "t5.rope.dimension_count",
    "t5.rope.freq_base",
    "t5.rope.scaling.type",
    "t5.vocab_size",
    "t5serve.generation.max_tokens",
    "t5serve.relative_attention_max_distance",
    "t5serve.tokenizer.cleans_up_spaces",
    "t5serve.tokenizer.keeps_first_space",
    "t5serve.vocab_size",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.token_type_count",
)
LOADED, REFUSED, TRACEBACK, MANY_LINES = range(4)
OUTCOMES = {LOADED: "loaded", REFUSED: "refused", TRACEBACK: "traceback", MANY_LINES: "not a line"}
FINE = ("loaded", "refused")
Mutation = Callable[[random.Random, bytearray, int], None]


def flip(random_: random.Random, data: bytearray, end: int) -> None:
    """Changes a few bytes."""
    for _ in range(random_.randint(1, 4)):
        data[random_.randrange(end)] = random_.randrange(256)


def overwrite(random_: random.Random, data: bytearray, end: int) -> None:
    """Writes an extreme number of four or eight bytes anywhere."""
    code = random_.choice("IQ")
    number = random_.choice(EXTREMES) % 2 ** (8 * struct.calcsize(code))
    struct.pack_into(f"<{code}", data, random_.randrange(end - 8), number)


def change_value(random_: random.Random, data: bytearray, end: int) -> None:
    """Writes extremes, another type, or junk near a metadata key that matters."""
    keys = [b"t5.", b"general.", b"tokenizer.ggml.", b"t5serve."]
    places = []
    for key in keys:
        start = data.find(key, 0, end)
        while start >= 0:
            places.append(start)
            start = data.find(key, start + 1, end)
    place = random_.choice(places)
    (length,) = struct.unpack_from("<Q", data, place - 8)
    value = place + min(length, 200)
    if random_.random() < 0.3:
        struct.pack_into("<I", data, value, random_.randrange(14))
    else:
        number = random_.choice(EXTREMES) % 2**32
        struct.pack_into("<I", data, value + 4, number)


def set_value(random_: random.Random, data: bytearray, end: int) -> None:
    """Gives a key another value of its own type, as a wrong converter would."""
    starts = [
        match.end()
        for match in KEY.finditer(data, 0, end - 12)
        if struct.unpack_from("<I", data, match.end())[0] in SCALAR_FORMATS
    ]
    start = random_.choice(starts)
    (value_type,) = struct.unpack_from("<I", data, start)
    code = SCALAR_FORMATS[value_type]
    if code in "fd":
        number: float = random_.choice((0.0, -1.0, 1e30, 1e-30, float("nan"), float("inf")))
    else:
        number = random_.choice(NUMBERS) % 2 ** (8 * struct.calcsize(code) - (code in "bhiq"))
    struct.pack_into(f"<{code}", data, start + 4, number)


def add_key(random_: random.Random, data: bytearray, _end: int) -> None:
    """Adds a key that llama.cpp knows; another one fills up, since tensors are aligned."""
    key = random_.choice(OTHER_KEYS).encode()
    number = random_.choice(NUMBERS) % 2**32
    added = struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, number)
    filler = struct.pack("<Q4sI", 4, b"fill", 8)
    length = -(len(added) + len(filler) + 8) % ALIGNMENT
    data[24:24] = added + filler + struct.pack("<Q", length) + b"x" * length
    (count,) = struct.unpack_from("<Q", data, 16)
    struct.pack_into("<Q", data, 16, count + 2)


def truncate(random_: random.Random, data: bytearray, end: int) -> None:
    """Ends the file anywhere."""
    del data[random_.randrange(random_.choice((end, len(data)))) :]


def remove(random_: random.Random, data: bytearray, end: int) -> None:
    """Leaves out some bytes of the header."""
    start = random_.randrange(end)
    del data[start : start + random_.choice((1, 4, 8, 64))]


MUTATIONS: tuple[Mutation, ...] = (
    flip,
    overwrite,
    change_value,
    change_value,
    set_value,
    set_value,
    add_key,
    truncate,
    remove,
)


def mutate(source: bytes, end: int, seed: int) -> bytes:
    """Returns a file with a changed header; `end` is where its first tensor begins."""
    random_ = random.Random(seed)
    data = bytearray(source)
    random_.choice(MUTATIONS)(random_, data, end)
    return bytes(data)


def load(path: Path, messages: Path) -> int:
    """Loads a file in a process of its own; returns how it ended, as waitpid says."""
    from t5engine.backend import BackendError
    from t5engine.worker import model
    from t5engine.worker.job import InputRefused
    from t5engine.worker.step import warm_up

    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1]
    os.environ["GGML_NO_BACKTRACE"] = "1"  # a debugger takes seconds
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    with messages.open("wb") as file:
        os.dup2(file.fileno(), 2)
    outcome = LOADED
    try:
        loaded = model.load_model(
            path,
            threads=1,
            max_input_tokens=64,
            max_tokens=16,
            logit_scale=None,
            backend="auto",
            rows=2,
        )
        warm_up(loaded)
        outcome = LOADED if loaded.info.name.isprintable() else MANY_LINES
    except (model.LoadError, BackendError, InputRefused) as error:
        outcome = REFUSED if str(error).isprintable() else MANY_LINES
        messages.write_text(str(error), encoding="utf-8")
    except BaseException as error:  # noqa: BLE001 - that is what is counted
        outcome = TRACEBACK
        messages.write_text(repr(error), encoding="utf-8")
    os._exit(outcome)


def describe(status: int) -> str:
    """Returns an outcome in words."""
    if not os.WIFSIGNALED(status):
        return OUTCOMES.get(os.WEXITSTATUS(status), f"exit {os.WEXITSTATUS(status)}")
    number = os.WTERMSIG(status)
    return "hang" if number == signal.SIGALRM else signal.Signals(number).name


def run(source: Path, count: int, seed: int) -> dict[str, list[tuple[int, str]]]:
    """Loads `count` changed files; returns seeds and messages by outcome."""
    data = source.read_bytes()
    end = min(tensor.offset for tensor in GGUFFile.open(source).tensors.values())
    outcomes: dict[str, list[tuple[int, str]]] = {}
    with tempfile.TemporaryDirectory() as name:
        path, messages = Path(name, "x.gguf"), Path(name, "messages")
        for number in range(seed, seed + count):
            path.write_bytes(mutate(data, end, number))
            messages.write_bytes(b"")
            outcome = describe(load(path, messages))
            text = messages.read_text(encoding="utf-8", errors="replace")
            outcomes.setdefault(outcome, []).append((number, text.replace(str(path), "FILE")))
    return outcomes


def main() -> int:
    """Prints how many files had each outcome, and those that are faults."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="a small GGUF file")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reasons", action="store_true", help="also print the refusals' texts")
    options = parser.parse_args()
    started = time.monotonic()
    outcomes = run(options.source, options.count, options.seed)
    counts = {outcome: len(cases) for outcome, cases in outcomes.items()}
    print(f"{options.count} files in {time.monotonic() - started:.0f} s: {counts}")
    faults = {outcome: cases for outcome, cases in outcomes.items() if outcome not in FINE}
    for outcome, cases in faults.items():
        for number, text in cases[:20]:
            print(f"  {outcome}, seed {number}: {text.strip()[-300:]}")
    if options.reasons:
        reasons = Counter(text[:100] for _, text in outcomes.get("refused", []))
        for text, number in reasons.most_common(60):
            print(f"  {number} x {text}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
