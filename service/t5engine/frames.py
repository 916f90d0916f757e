"""Frames between the service and its worker processes: length-prefixed MessagePack."""

from __future__ import annotations

import struct

import msgspec

from t5engine.messages import FromWorker, ToWorker

HEADER = struct.Struct("<I")  # length of the body, bytes

_encoder = msgspec.msgpack.Encoder()
_to_worker_decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker_decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def pack(message: ToWorker | FromWorker) -> bytes:
    """Encodes a message as a frame: HEADER, then the body."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def unpack_to_worker(body: bytes) -> ToWorker:
    """Decodes the body of a frame on the worker's side."""
    return _to_worker_decoder.decode(body)


def unpack_from_worker(body: bytes) -> FromWorker:
    """Decodes the body of a frame on the service's side."""
    return _from_worker_decoder.decode(body)
