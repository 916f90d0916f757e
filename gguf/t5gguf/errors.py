"""What the converter raises."""


class ConversionError(ValueError):
    """The source can't become a right GGUF file; the message names every fault found."""


class VerificationError(ConversionError):
    """A written file is not what its source says; the message names every fault found."""


class FetchError(Exception):
    """A model could not be fetched; the message is one sentence and says what to do."""
