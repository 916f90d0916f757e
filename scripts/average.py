"""Averages copies of one training: `python scripts/average.py RUN COPY...`.

Copies of RUN go on by themselves, each on a core or a machine of its own and with another `--seed`.
Then RUN's weights, moments and checkpoint become the means of all. To go on, copy RUN again. This
is local SGD (Stich 2019, https://arxiv.org/abs/1805.09767).
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from extras import Extra

EXTRA = Extra("train")
with EXTRA:
    import torch

    from t5train import t5_model, training_state
    from t5train.averaging import load_weights

log = logging.getLogger("average")

CHECKPOINT = "checkpoint"


def main(arguments: list[str] | None = None) -> int:
    """Writes the averages; returns 2 if the trainings have no state, or different ones."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("run", type=Path, help="the --out of a training; it is changed")
    parser.add_argument("copies", type=Path, nargs="+", help="the --out of its copies")
    options = parser.parse_args(arguments)
    EXTRA.require()
    try:
        states = [_load(directory) for directory in (options.run, *options.copies)]
        averaged = average(states)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"average: {error}\n")
        return 2
    training_state.save(options.run, averaged)
    _renew_checkpoint(options.run / CHECKPOINT, averaged["average"]["weights"])
    log.info("%s is at step %d", options.run, averaged["step"])
    return 0


def average(states: list[Any]) -> Any:  # noqa: ANN401 - any tree
    """Returns a tree: the mean of each tensor of floats, and the first tree's other values.

    Raises:
        ValueError: the trees have different tensors.
    """
    first = states[0]
    if isinstance(first, dict):
        if any(not isinstance(other, dict) or other.keys() != first.keys() for other in states):
            raise ValueError("the trainings are not copies of one: their states differ")
        return {key: average([state[key] for state in states]) for key in first}
    if not isinstance(first, torch.Tensor) or not first.is_floating_point():
        return first
    if any(not isinstance(other, torch.Tensor) or other.shape != first.shape for other in states):
        raise ValueError("the trainings are not copies of one: their tensors differ")
    return torch.stack([state.float() for state in states]).mean(0).to(first.dtype)


def _load(directory: Path) -> dict[str, Any]:
    state = training_state.load(directory)
    if state is None:
        raise ValueError(f"{directory} has no {training_state.FILE}")
    return state


def _renew_checkpoint(directory: Path, weights: dict[str, torch.Tensor]) -> None:
    """Puts averaged weights into the checkpoint of an earlier validation, if there is one."""
    if (directory / "config.json").is_file():
        model = t5_model.load(directory)
        load_weights(model, weights)
        model.save_pretrained(directory)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
