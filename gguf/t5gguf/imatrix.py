"""An importance matrix for llama.cpp's quantiser, in the file format of its `llama-imatrix`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from t5gguf.second_moments import DECODER_STEPS, SecondMoments
from t5gguf.tensor_map import TensorEntry


def write(path: Path, entries: Sequence[TensorEntry], moments: SecondMoments) -> None:
    """Writes the sums of squared inputs of each matrix, and the number of inputs.

    A query counts as a chunk. llama-imatrix itself can't run encoder-decoders.
    """
    writer = GGUFWriter(path, "t5")
    try:
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", ["t5gguf"])
        writer.add_uint32("imatrix.chunk_count", moments.queries)
        writer.add_uint32("imatrix.chunk_size", DECODER_STEPS)
        for entry in entries:
            if entry.source in moments:
                total, count = moments.get_sum(entry.source)
                writer.add_tensor(f"{entry.name}.in_sum2", np.diag(total)[None].copy())
                writer.add_tensor(f"{entry.name}.counts", np.full((1, 1), count, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
