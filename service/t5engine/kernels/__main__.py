"""Prints which matrix products this processor gets: `python -m t5engine.kernels`."""

import sys

from t5engine.kernels.loader import Q8_0, can_multiply

if __name__ == "__main__":
    sys.stdout.write("t5serve's own\n" if can_multiply(Q8_0, [16], 32) else "ggml's\n")
