"""Measures the speed of this engine, side by side with others.

`python scripts/bench.py peers --work DIR --out FILES` compares it with OpenVINO, CTranslate2,
ONNX Runtime and PyTorch. `python scripts/bench.py rerank --work DIR` compares reranking.
`python scripts/bench.py backends FILE.gguf ..` compares its two backends.
`python scripts/bench.py kernels FILE.gguf ..` compares its kernels with ggml's.
`python scripts/bench.py throughput FILE.gguf ..` counts queries a second over HTTP.
`python scripts/bench.py tables RESULTS.json` prints the results of `peers` as Markdown, and
`python scripts/bench.py history` the medians of the runs that docs/history keeps.
"""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module

from t5bench.errors import BenchError

COMMANDS = ("peers", "rerank", "backends", "kernels", "throughput", "tables", "history")


def main() -> int:
    """Runs a command; returns 1 after one line on standard error if the command fails."""
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    name = parser.parse_args(sys.argv[1:2]).command
    # Only this command is imported: others load an OpenMP before `backends` has pinned itself.
    command = import_module(f"t5bench.{name}")
    parser = argparse.ArgumentParser(prog=f"bench.py {name}", description=command.__doc__)
    command.add_arguments(parser)
    options = parser.parse_args(sys.argv[2:])
    try:
        command.run(options)
    except (BenchError, ValueError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Ends like Ctrl-C, which closes the sessions.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
