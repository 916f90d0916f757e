"""The shape of the vocabularies that several tests read."""

import dataclasses

from support.samples import T5_BASE

ROWS = 384
# The tiny vocabulary has 200 pieces; the embedding 320 rows, the file 384.
CONFIG = dataclasses.replace(T5_BASE, vocab_size=320)
