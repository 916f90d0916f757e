"""Mixes checkpoints of one model: `python scripts/mix.py OUT CHECKPOINT=SHARE...`.

The weights of OUT are the weighted mean of the checkpoints' weights. A model that was tuned on new
rows loses some of what it knew; the mean of the model before and after keeps most of both
(Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from extras import Extra

EXTRA = Extra("train")
with EXTRA:
    from safetensors.numpy import save_file

    from t5train import mixing


def main(arguments: list[str] | None = None) -> int:
    """Writes the mean; returns 2 if the checkpoints don't fit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("out", type=Path, help="a directory for the checkpoint")
    parser.add_argument("parts", nargs="+", metavar="CHECKPOINT=SHARE", help="shares add up to 1")
    options = parser.parse_args(arguments)
    EXTRA.require()
    try:
        parts = [mixing.parse_part(text) for text in options.parts]
        weights = mixing.mix(parts)
        options.out.mkdir(parents=True, exist_ok=True)
        mixing.copy_other_files(parts[-1].directory, options.out)
        save_file(weights, options.out / mixing.WEIGHTS, {"format": "pt"})
    except (ValueError, OSError) as error:
        sys.stderr.write(f"mix: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
