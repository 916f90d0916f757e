"""The memory-bandwidth limit: what a step must read, over how fast this machine reads.

A step reads the decoder's weights but the cross-attention's keys and values, the head, and the
caches. `t5bench.probe` has how fast.
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
    """Weights of a GGUF file that a step reads."""
    tensors = GGUFFile.open(file).tensors
    return size.sum_named_step_bytes({name: tensor.nbytes for name, tensor in tensors.items()})


def step_bytes(config: Config, item_size: int) -> int:
    """The same of a format that has so many bytes for each weight; norms are left out."""
    attention = config.d_model * config.d_inner
    feed_forward = (3 if config.is_gated else 2) * config.d_model * config.d_ff
    layer = (4 + 2) * attention + feed_forward  # q, k, v, o; of the cross-attention q and o
    head = config.d_model * config.vocab_size
    return item_size * (config.num_decoder_layers * layer + head)


def position_bytes(config: Config, item_size: int) -> int:
    """Keys and values of one position, of the input or of the output, in all decoder layers."""
    return 2 * config.num_decoder_layers * config.d_inner * item_size


def measure(share: Share) -> float:
    """Bytes a second, in a process of its own, pinned as a worker is.

    Raises:
        BenchError: it failed.
    """
    ran = subprocess.run(
        [sys.executable, "-m", "t5bench.probe", *map(str, (share.threads, *share.cpus))],
        env=environment.inherited(environment.pinned(share)),
        check=False,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise BenchError(f"the bandwidth can't be measured: {ran.stderr[-2000:]}")
    return float(ran.stdout)
