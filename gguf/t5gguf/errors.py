"""The converter's exceptions.

ValueError
  ConversionError
    VerificationError
Exception
  FetchError
"""


class ConversionError(ValueError):
    """The checkpoint can't become a correct GGUF file; the message names every fault."""


class VerificationError(ConversionError):
    """A written file differs from its checkpoint; the message names every fault."""


class FetchError(Exception):
    """A model could not be fetched; the message is one sentence and says what to do."""
