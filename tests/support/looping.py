"""A worker's loop in a thread, with a fake backend and a fake vocabulary."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from support.fakes import MODEL
from t5engine.frames import HEADER, pack, unpack_from_worker
from t5engine.messages import FromWorker, ToWorker
from t5engine.worker.connection import Connection
from t5engine.worker.loop import Loop
from t5engine.worker.model import Model

F32 = npt.NDArray[np.float32]
EOS = 1


class FakeBackend:
    """Ends each row after as many steps as its input has tokens; records the calls."""

    name = "fake"
    kernels = "none"
    rows = 4
    inputs = 4
    n_vocab = 10
    max_input_tokens = 8
    max_tokens = 128

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.remaining: dict[int, int] = {}
        self.go_on = threading.Event()
        self.go_on.set()

    def encode(self, row: int, ids: Sequence[int], *, is_single_step: bool = False) -> None:
        del is_single_step
        self.calls.append(f"encode {row}")
        self.remaining[row] = len(ids)

    def step(self, rows: Sequence[int], tokens: Sequence[int]) -> list[F32]:
        return [logits[0] for logits in self.extend(rows, [[token] for token in tokens])]

    def extend(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[F32]:
        assert [len(row_tokens) for row_tokens in tokens] == [1] * len(rows)
        self.go_on.wait(10)
        self.calls.append(f"step {sorted(rows)}")
        for row in rows:
            self.remaining[row] -= 1
        logits = np.zeros((len(rows), 1, 10), np.float32)
        for index, row in enumerate(rows):
            logits[index, 0, 5 if self.remaining[row] > 0 else EOS] = 1
        return list(logits)

    def rewind(self, row: int, position: int) -> None:
        raise NotImplementedError  # nothing is drafted here

    def reorder(self, rows: Sequence[int], parents: Sequence[int]) -> None:
        if list(rows) != list(parents):
            self.calls.append(f"reorder {list(rows)} from {list(parents)}")
            remaining = [self.remaining[parent] for parent in parents]
            self.remaining.update(zip(rows, remaining, strict=True))

    def release(self, row: int) -> None:
        self.remaining.pop(row, None)


class FakeVocabulary:
    """Ten ids, all of them text except `</s>`."""

    eos = EOS
    suppressed = np.array([0], np.intp)

    def encode(self, text: str) -> list[int]:
        return [3] * len(text)

    def find_piece(self, text: str) -> int | None:
        return {"yes": 5, "no": 6}.get(text)

    def decode(self, ids: Sequence[int], *, final: bool = True) -> str:
        return "x" * len(ids) if final or ids else ""

    def decode_all(self, ids: Sequence[int]) -> str:
        return "x" * len(ids)


class Service:
    """The service's end of the loop's connection."""

    def __init__(self, backend: FakeBackend) -> None:
        self._service_socket, worker_socket = socket.socketpair()
        self._service_socket.settimeout(10)
        model = Model(backend, FakeVocabulary(), 0, MODEL)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=Loop(Connection(worker_socket), model).run)
        self._worker_socket = worker_socket
        self._thread.start()

    def send(self, *messages: ToWorker) -> None:
        self._service_socket.sendall(b"".join(map(pack, messages)))

    def receive(self) -> FromWorker:
        (size,) = HEADER.unpack(self._read(4))
        return unpack_from_worker(self._read(size))

    def close(self) -> None:
        self._service_socket.close()
        self._thread.join(10)
        self._worker_socket.close()
        assert not self._thread.is_alive()

    def _read(self, size: int) -> bytes:
        return self._service_socket.recv(size, socket.MSG_WAITALL)
