"""Fetches a model and makes GGUF files of it: `python scripts/fetch.py NAME --convert Q8_0`."""

import sys

from t5gguf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(command="fetch"))
