"""The keys of a GGUF file that describe the model's tasks, each followed by a task's name."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from t5engine.tokenization.marks import SEPARATOR_KEY
from t5gguf.tasks import QUERY, Task

logger = logging.getLogger(__name__)

NAMES_KEY = "t5serve.tasks"
PREFIX_KEY = "t5serve.prefix."
TEMPLATE_KEY = "t5serve.template."
JOIN_KEY = "t5serve.join."
TRUNCATE_KEY = "t5serve.truncate."
COUNT_KEY = "t5serve.n."


def write_keys(tasks: Mapping[str, Task]) -> dict[str, str | int]:
    """Returns the keys of tasks, with their values.

    A task that is a prefix has only a prefix, which older programs read; llama.cpp leaves out an
    empty one.
    """
    keys: dict[str, str | int] = {NAMES_KEY: ",".join(tasks)}  # llama.cpp keeps no order of keys
    for name, task in tasks.items():
        if task.is_prefixed:
            keys[PREFIX_KEY + name] = task.prefix
        else:
            keys[TEMPLATE_KEY + name] = task.template
        if task.takes_history:
            keys[JOIN_KEY + name] = task.join
        if task.truncate != "refuse":
            keys[TRUNCATE_KEY + name] = task.truncate
        if task.separator:
            keys[SEPARATOR_KEY + name] = task.separator
        if task.n != 1:
            keys[COUNT_KEY + name] = task.n
    return keys


def read_tasks(metadata: Mapping[str, str]) -> dict[str, Task]:
    """Returns the tasks that a file describes, by name; the first is the default."""
    names = [name for name in metadata.get(NAMES_KEY, "").split(",") if name]
    return {name: _read_task(metadata, name) for name in names}


def _read_task(metadata: Mapping[str, str], name: str) -> Task:
    prefix = metadata.get(PREFIX_KEY + name, "")
    values = {
        "template": metadata.get(TEMPLATE_KEY + name, prefix + QUERY),
        "join": metadata.get(JOIN_KEY + name, " "),
        "separator": metadata.get(SEPARATOR_KEY + name, ""),
        "truncate": metadata.get(TRUNCATE_KEY + name, "refuse"),
        "n": metadata.get(COUNT_KEY + name, "1"),
    }
    try:
        return msgspec.convert(values, Task, strict=False)
    except msgspec.ValidationError as error:
        logger.warning("ignored all but the prefix of the file's task %s: %s", name, error)
        return Task.of_prefix(prefix)
