"""Measures how fast this engine is, side by side with others.

`python scripts/bench.py peers --work DIR --out FILES`: against PyTorch, CTranslate2 and ONNX
Runtime; `python scripts/bench.py backends FILE.gguf ..`: its two backends against each other;
`python scripts/bench.py tables RESULTS.json`: the results of the first as Markdown.
"""

from __future__ import annotations

import argparse
import sys

from t5bench import backends, peers, tables
from t5bench.errors import BenchError
from t5gguf.errors import ConversionError

COMMANDS = {
    "peers": (peers, "compare with PyTorch, CTranslate2 and ONNX Runtime"),
    "backends": (backends, "compare the backends `graph` and `llama` on GGUF files"),
    "tables": (tables, "print a comparison's results as Markdown, or put them into a page"),
}


def main() -> int:
    """Runs a command; one message and status 1 when it fails."""
    parser = argparse.ArgumentParser(prog="bench.py", description="Measure how fast it is.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, text) in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=text, description=module.__doc__))
    options = parser.parse_args()
    try:
        COMMANDS[options.command][0].run(options)
    except (BenchError, ConversionError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
