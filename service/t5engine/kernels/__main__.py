"""Prints which matrix products this processor gets: `python -m t5engine.kernels`."""

import sys

from t5engine.kernels.loader import Kernels

if __name__ == "__main__":
    kernels = Kernels.find()
    sys.stdout.write(f"t5serve's own, {kernels.name}\n" if kernels else "ggml's\n")
