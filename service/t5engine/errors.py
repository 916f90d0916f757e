"""What the engine raises.

EngineError
├── ModelLoadError         no worker will ever serve this model; one line for the operator
└── JobError               one job gets no result; the engine goes on
    ├── InvalidInput       the model can't take this input or these parameters
    │   ├── InputTooLong   the input has more tokens than the model takes
    │   └── InputQuarantined   the input ended a worker process twice
    ├── QueueFull          no room for another job
    ├── EngineNotReady     no worker is ready: loading, restarting or draining
    ├── DeadlineExceeded   the job's time is over
    └── JobFailed          a fault of the engine
"""

from __future__ import annotations


class EngineError(Exception):
    """Anything that the engine raises on purpose."""


class ModelLoadError(EngineError):
    """The model can't be loaded."""


class JobError(EngineError):
    """A job has no result; the message says why, and what to do."""


class InvalidInput(JobError):
    """The model can't take this input or these parameters."""


class InputTooLong(InvalidInput):
    """The input has more tokens than the model takes."""


class InputQuarantined(InvalidInput):
    """The input ended a worker process twice and is refused."""


class QueueFull(JobError):
    """The queue is full."""


class EngineNotReady(JobError):
    """No worker is ready."""


class DeadlineExceeded(JobError):
    """The job's time is over."""


class JobFailed(JobError):
    """The engine failed at a job that it should have done."""
