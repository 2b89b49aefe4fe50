"""The short way to a StreamReader.

asyncio's streams are a StreamReaderProtocol that passes data to a StreamReader: four Python calls
per message. Where both are exactly asyncio's own classes, unmodified, `feed` does in one what the
four would do. A subclass, a patched method or a reader that is gone takes the long way.

This module stays interpreted on purpose: the interpreter reads the attributes of a Python object
several times faster than compiled code can through the C API.
"""

from __future__ import annotations

import asyncio
from typing import Any

_StreamReader: Any = asyncio.StreamReader  # Any, because its private fields are used
_StreamReaderProtocol = asyncio.StreamReaderProtocol
_DATA_RECEIVED = _StreamReaderProtocol.data_received
_FEED_DATA = _StreamReader.feed_data
_WAKEUP_WAITER = _StreamReader._wakeup_waiter


def has_short_way(protocol: Any) -> bool:
    """Whether `feed` may be tried for a protocol: it is asyncio's StreamReaderProtocol."""
    return type(protocol) is _StreamReaderProtocol


def feed(protocol: Any, data: bytes) -> bool:
    """Give data to the reader of a plain stream protocol.

    Returns:
        False if the long way has to be taken instead; then nothing has happened.
    """
    reference = protocol._stream_reader_wr
    if reference is None:
        return False
    reader = reference()
    if type(reader) is not _StreamReader or reader._eof:
        return False
    # Each time, because a program gets to see the reader, and may patch it, only after all is made.
    if (
        _StreamReader.feed_data is not _FEED_DATA
        or _StreamReader._wakeup_waiter is not _WAKEUP_WAITER
        or _StreamReaderProtocol.data_received is not _DATA_RECEIVED
        or "feed_data" in reader.__dict__
        or "data_received" in protocol.__dict__
    ):
        return False
    buffer = reader._buffer
    buffer.extend(data)
    waiter = reader._waiter
    if waiter is not None:
        reader._waiter = None
        if not waiter.cancelled():
            waiter.set_result(None)
    if len(buffer) > 2 * reader._limit and reader._transport is not None and not reader._paused:
        try:
            reader._transport.pause_reading()
        except NotImplementedError:
            reader._transport = None
        else:
            reader._paused = True
    return True
