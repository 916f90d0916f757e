"""What a teacher reads and writes: ChatML, as SmolLM2-Instruct was trained, one search a line."""

from __future__ import annotations

from collections.abc import Iterable

END = "<|im_end|>"
SEPARATOR = "\n"  # never within a search
MOST = 8  # searches that are read of an answer


def prompt(task: str, source: str) -> str:
    """The text before an answer."""
    return f"<|im_start|>user\n{task}: {one_line(source)}{END}\n<|im_start|>assistant\n"


def answer(targets: Iterable[str]) -> str:
    """An answer with its end mark."""
    return SEPARATOR.join(map(one_line, targets)) + END


def targets(text: str) -> tuple[str, ...]:
    """The searches of an answer, without its end mark; each once and no empty one."""
    lines = map(one_line, text.partition(END)[0].split(SEPARATOR))
    return tuple(dict.fromkeys(filter(None, lines)))[:MOST]


def one_line(text: str) -> str:
    """The text with single spaces."""
    return " ".join(text.split())
