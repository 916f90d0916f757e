"""The memory-bandwidth limit: the bytes that a step must read / the bandwidth of this machine.

A step reads the decoder's weights without the cross-attention's k and v projections, the head,
and the caches. `t5bench.probe` measures the bandwidth.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from t5bench import environment
from t5bench.errors import BenchError
from t5engine.cpus import Share
from t5engine.reader import GGUFFile
from t5gguf import size
from t5gguf.config import Config


def gguf_step_bytes(file: Path) -> int:
    """Returns the bytes of a GGUF file's weights that a step reads."""
    tensors = GGUFFile.open(file).tensors
    return size.sum_named_step_bytes({name: tensor.nbytes for name, tensor in tensors.items()})


def step_bytes(config: Config, item_size: float, head_item_size: float | None = None) -> int:
    """Returns the bytes of weights that a step reads, without norms.

    Args:
        config: The model's shape.
        item_size: Bytes of a weight.
        head_item_size: Bytes of a weight of the head; None: `item_size`.
    """
    attention = config.d_model * config.d_inner
    feed_forward = (3 if config.is_gated else 2) * config.d_model * config.d_ff
    layer = (4 + 2) * attention + feed_forward  # q, k, v, o; and the cross-attention's q and o
    head = config.d_model * config.vocab_size
    head_bytes = head * (item_size if head_item_size is None else head_item_size)
    return int(item_size * config.num_decoder_layers * layer + head_bytes)


def position_bytes(config: Config, item_size: int) -> int:
    """Returns the bytes of one position's keys and values in all decoder layers.

    A position of the input has as many bytes as one of the output.
    """
    return 2 * config.num_decoder_layers * config.d_inner * item_size


def measure(share: Share) -> float:
    """Returns bytes per second, measured in a separate process that is pinned like a worker.

    Raises:
        BenchError: The process failed.
    """
    probe = subprocess.run(
        [sys.executable, "-m", "t5bench.probe", *map(str, (share.threads, *share.cpus))],
        env=environment.extend_environment(environment.openmp_variables(share)),
        check=False,
        capture_output=True,
        text=True,
    )
    if probe.returncode:
        raise BenchError(f"the bandwidth can't be measured: {probe.stderr[-2000:]}")
    return float(probe.stdout)
