"""The exceptions that the engine raises.

EngineError
├── ModelLoadError         the model can't be loaded; the message is one line for the operator
└── JobError               a job has no result; the engine continues
    ├── InvalidInput       the model can't process this input or these parameters
    │   ├── InputTooLong   the input has more tokens than the model accepts
    │   └── InputQuarantined   the input ended a worker process twice
    ├── QueueFull          the queue has no room for another job
    ├── EngineNotReady     no worker is ready: loading, restarting or draining
    ├── DeadlineExceeded   the job's deadline passed
    └── JobFailed          the engine failed; the job itself is valid
"""

from __future__ import annotations


class EngineError(Exception):
    """Base class of the engine's exceptions."""


class ModelLoadError(EngineError):
    """The model can't be loaded."""


class JobError(EngineError):
    """A job has no result. The message says why.

    Args:
        message: why, in one sentence.
        retry_after: seconds after which another attempt can succeed; 0: unknown.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidInput(JobError):
    """The model can't process this input or these parameters."""


class InputTooLong(InvalidInput):
    """The input has more tokens than the model accepts."""


class InputQuarantined(InvalidInput):
    """The input ended a worker process twice and is refused."""


class QueueFull(JobError):
    """The queue is full."""


class EngineNotReady(JobError):
    """No worker is ready."""


class DeadlineExceeded(JobError):
    """The job's deadline passed."""


class JobFailed(JobError):
    """The engine failed at a valid job."""
