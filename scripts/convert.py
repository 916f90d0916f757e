"""Converts a T5 checkpoint to GGUF: `python scripts/convert.py SOURCE_DIR --out FILE.gguf`."""

import sys

from t5gguf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(command="convert"))
