"""What tells a job from another one, which must not be mixed with it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from t5serve import __version__
from t5serve.commands.batch.formats import format_of
from t5serve.commands.batch.rows import digest


def identify(options: argparse.Namespace, values: dict[str, Any], model: str) -> str:
    """Returns the identity of a job, as JSON.

    Args:
        options: the options of the command.
        values: the options of each request.
        model: tells the model from another one.
    """
    facts = {
        "version": __version__,
        "input": digest(options.input),
        "source": options.source or format_of(options.input),
        "columns": [options.column, options.id_column],
        "shape": options.shape,
        "shard": [options.shard.index, options.shard.count],
        "options": values,
        "strict": bool(options.strict),
        "model": model,
    }
    return json.dumps(facts, sort_keys=True)


def describe_differences(known: str, identity: str) -> str:
    """Returns what differs between the job on disk and this one, and what to do."""
    left, right = _flatten(known), _flatten(identity)
    differing = [name for name in sorted(left | right) if left.get(name) != right.get(name)]
    return (
        f"is of a job with another {', '.join(differing)}; --resume needs the same command,"
        " --force begins anew"
    )


def _flatten(identity: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(identity)
    names = {"source": "input format", "shape": "output format", "version": "version of t5serve"}
    options: dict[str, Any] = facts.pop("options", {})
    return {names.get(name, name): value for name, value in facts.items()} | options
