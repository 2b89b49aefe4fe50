"""TextFile: a file as a stream of text, as `open(..., "r")` gives.

The bytes go through a BinaryFile. Text that was decoded and not yet given lies in `_lines`, and is
always what one piece of bytes came to; that piece, where it began and the state of the decoder
there are the `Snapshot` from which a position in the text is told.

Positions are what `io.TextIOBase` calls opaque numbers: the position of a byte at which decoding
can begin, and in the higher bits, where needed, the state of the decoder there and how much of what
follows has to be decoded and dropped.
"""

from __future__ import annotations

import asyncio
import codecs
import io
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.files.by_lines import ByLines
from noria.files.cookies import Cookie, cookie_of
from noria.native.lines import LineIterator, Lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType

    from noria.files.binary import BinaryFile

_ENDS = {None: "\n", "": "", "\n": "\n", "\r": "\r", "\r\n": ""}
"""The character that ends a line by itself, by `newline`; empty where it takes more to tell."""


class Snapshot(NamedTuple):
    """How the text in `_lines` came to be.

    Attributes:
        position: where its bytes begin in the file.
        flags: the state of the decoder there.
        data: the bytes, with those that the decoder held back from before.
    """

    position: int
    flags: int
    data: bytes


class Begun(NamedTuple):
    """How things stood when a read began, to go back to if it fails.

    Attributes:
        parts: text that the read has taken since.
        text: what had been decoded.
        at: how much of it had been given.
        snapshot: how it had come to be.
        position: of the bytes.
        state: of the decoder.
    """

    parts: list[str]
    text: str
    at: int
    snapshot: Snapshot | None
    position: int
    state: tuple[bytes, int]


class TextFile(ByLines[str]):
    """An open file of text; made by `noria.open`.

    Its methods do what those of `io.TextIOWrapper` do, and are awaited.

    Args:
        buffer: the bytes; closed with this file.
        like: an object of `io` that was made with the same encoding, errors and newline, and has
            checked them.
        newline: as for `open`.
        line_buffering: flush after every line that is written.

    Attributes:
        buffer: the file of bytes, with its positional operations.
        mode: as it was opened.
        encoding: name of the encoding.
        errors: what is done about what cannot be encoded or decoded.
        line_buffering: every line that is written is flushed.
    """

    mode = "r"

    def __init__(
        self,
        buffer: BinaryFile,
        like: io.TextIOWrapper,
        newline: str | None,
        line_buffering: bool,
    ) -> None:
        self.buffer = buffer
        self.line_buffering = line_buffering
        self._turn = asyncio.Lock()
        self._at_end = False
        self._snapshot: Snapshot | None = None
        self._set_text(like, newline)

    def _set_text(self, like: io.TextIOWrapper, newline: str | None) -> None:
        self.encoding = like.encoding
        self.errors: str = like.errors or "strict"
        self._newline = newline
        self._lines = Lines(_ENDS[newline])
        self._lines.data = ""
        self._written_end = os.linesep if newline is None else newline or "\n"
        self._encoder: Any = None
        self._decoder: Any = None

    # -- what it is -----------------------------------------------------------------------------

    @property
    def name(self) -> Any:
        """What it was opened by."""
        return self.buffer.name

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is being closed."""
        return self.buffer.closed

    @property
    def newlines(self) -> Any:
        """Line ends that were met: None, a string or a tuple of strings."""
        return getattr(self._decoder, "newlines", None)

    def readable(self) -> bool:
        """Whether it can be read."""
        return self.buffer.readable()

    def writable(self) -> bool:
        """Whether it can be written."""
        return self.buffer.writable()

    def seekable(self) -> bool:
        """Whether it has a position."""
        return self.buffer.seekable()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.buffer.isatty()

    def fileno(self) -> int:
        """Give the descriptor's number."""
        return self.buffer.fileno()

    def __repr__(self) -> str:
        """Name, mode and encoding."""
        kind = type(self).__name__
        return f"<{kind} name={self.name!r} mode={self.mode!r} encoding={self.encoding!r}>"

    # -- reading --------------------------------------------------------------------------------

    async def read(self, size: int | None = -1, /) -> str:
        """Read `size` characters, or up to the end of the file if it is negative or None.

        Raises:
            ValueError: the file is closed; UnicodeDecodeError is one, too.
            io.UnsupportedOperation: it was not opened for reading.
            OSError: of read(2).
        """
        self._check(self.buffer.can_read, "not readable")
        lines = self._lines
        if size is not None and 0 <= size <= lines.left() and not self._turn.locked():
            taken: str = lines.take(size)
            return taken
        async with self._turn:
            begun = await self._begin_reading()
            try:
                if size is None or size < 0:
                    return await self._read_all(begun.parts)
                return await self._read(size, begun.parts)
            except BaseException:
                self._go_back(begun)
                raise

    async def readline(self, size: int | None = -1, /) -> str:
        """Read one line with its end, or `size` characters of it; "" at the end of the file."""
        self._check(self.buffer.can_read, "not readable")
        if (size is None or size < 0) and not self._turn.locked():
            line: str | None = self._lines.next_line()
            if line is not None:
                return line
        async with self._turn:
            begun = await self._begin_reading()
            try:
                return await self._read_line(-1 if size is None else size, begun.parts)
            except BaseException:
                self._go_back(begun)
                raise

    def __aiter__(self) -> AsyncIterator[str]:
        """Iterate over the lines; those that were read ahead come without a turn of the loop."""
        self._check(self.buffer.can_read, "not readable")
        return LineIterator(self._lines, self.__anext__)

    def _check(self, able: bool, what: str) -> None:
        self.buffer._check_can(able, what)

    async def _begin_reading(self) -> Begun:
        """Have a decoder; give what to go back to if reading fails."""
        self.buffer._check_open()
        if self._decoder is None:
            self._decoder = self._new_decoder()
        await self.buffer.flush()
        lines = self._lines
        state = self._decoder.getstate()
        position = self.buffer._position()
        return Begun([], lines.data, lines.at, self._snapshot, position, state)

    def _go_back(self, begun: Begun) -> None:
        """Have what was read come once more."""
        lines = self._lines
        if self.buffer.closed:
            return
        if self.buffer._channel is None:
            self.buffer.rewind(begun.position)
            self._decoder.setstate(begun.state)
            lines.data, lines.at, self._snapshot = begun.text, begun.at, begun.snapshot
        else:
            lines.data, lines.at = "".join(begun.parts) + lines.data[lines.at :], 0
        self._at_end = False

    def _new_decoder(self) -> Any:
        decoder: Any = codecs.getincrementaldecoder(self.encoding)(self.errors)
        if self._newline in (None, ""):
            return io.IncrementalNewlineDecoder(decoder, translate=self._newline is None)
        return decoder

    async def _fill(self) -> bool:
        """Decode the next piece when all text has been taken; False at the end of the file."""
        decoder = self._decoder
        held, flags = decoder.getstate()
        data = await self.buffer.read1(self.buffer._chunk)
        position = self.buffer._position() - len(data) - len(held)
        text = decoder.decode(data, final=not data)
        self._snapshot = Snapshot(position, flags, held + data)
        self._lines.data = text
        self._lines.at = 0
        self._at_end = not data
        return not self._at_end or bool(text)

    async def _read(self, size: int, parts: list[str]) -> str:
        have = 0
        while True:
            count = min(size - have, self._lines.left())
            parts.append(self._lines.take(count))
            have += count
            if have >= size or (not self._lines.left() and not await self._fill()):
                break
        return parts[0] if len(parts) == 1 else "".join(parts)

    async def _read_all(self, parts: list[str]) -> str:
        parts.append(self._lines.take(self._lines.left()))
        data = await self.buffer.read()
        text: str = parts[0] + self._decoder.decode(data, final=True)
        self._lines.data = ""
        self._lines.at = 0
        self._snapshot = None
        return text

    async def _read_line(self, size: int, parts: list[str]) -> str:
        """Read one line; `stop` is where it ends in the text at hand, 0 if that cannot be told."""
        total = 0
        while size < 0 or total < size:
            text: str = self._lines.data
            at = self._lines.at
            stop = self._line_end(text, at)
            if 0 <= size < total + (stop or len(text)) - at:
                stop = at + size - total
            if not stop and at < len(text) and text[-1] == "\r" and self._newline == "\r\n":
                stop = len(text) - 1  # its other half may come with the next piece
                parts.append(text[at:stop])
                total += stop - at
                if not await self._fill_behind("\r"):
                    parts.append(self._lines.take(self._lines.left()))
                    break
                continue
            parts.append(text[at : stop or len(text)])
            total += (stop or len(text)) - at
            self._lines.at = stop or len(text)
            if stop or not await self._fill():
                break
        return parts[0] if len(parts) == 1 else "".join(parts)

    async def _fill_behind(self, kept: str) -> bool:
        """Decode the next piece behind one character of the last; False at the end of the file."""
        last = self._snapshot
        going_on = await self._fill()
        if last is not None and self._snapshot is not None:
            encoded = last.data[-1:]
            whole = Snapshot(self._snapshot.position - 1, last.flags, encoded + self._snapshot.data)
            self._snapshot = whole
        self._lines.data = kept + self._lines.data
        return going_on

    def _line_end(self, text: str, at: int) -> int:
        """Where the first line behind `at` ends; 0 if it does not end in this text."""
        newline = self._newline
        if newline is None:
            newline = "\n"
        if newline:
            found = text.find(newline, at)
            return found + len(newline) if found >= 0 else 0
        feed = text.find("\n", at)
        back = text.find("\r", at, feed if feed >= 0 else len(text))
        if back < 0:
            return feed + 1
        return back + 2 if text.startswith("\n", back + 1) else back + 1

    # -- writing --------------------------------------------------------------------------------

    async def write(self, text: str, /) -> int:
        """Write text, at the latest with the next flush; how many characters, which is all.

        Raises:
            TypeError: it is not a string.
            ValueError: the file is closed; UnicodeEncodeError is one, too.
            io.UnsupportedOperation: it was not opened for writing.
            OSError: of write(2).
        """
        self._check(self.buffer.can_write, "not writable")
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        length = len(text)
        flushing = self.line_buffering and ("\n" in text or "\r" in text)
        if "\n" in text and self._written_end != "\n" and self._newline != "":
            text = text.replace("\n", self._written_end)
        if self._encoder is None or self._lines.data or self._turn.locked() or flushing:
            async with self._turn:
                await self._write(text, flushing)
            return length
        data = self._encoder.encode(text)
        if not self.buffer.gather(data):
            await self.buffer.write(data)
        return length

    async def _write(self, text: str, flushing: bool) -> None:
        if self._encoder is None:
            await self._make_encoder()
        data = self._encoder.encode(text)
        await self.buffer.write(data)
        self._drop()
        if flushing:
            await self.buffer.flush()

    async def _make_encoder(self) -> None:
        encoder: Any = codecs.getincrementalencoder(self.encoding)(self.errors)
        if self.buffer.appending and self.buffer._channel is None and await self.buffer.tell():
            encoder.setstate(0)  # what begins a file, such as a byte order mark, is there already
        self._encoder = encoder

    def _drop(self) -> None:
        """Forget what was decoded; the file's position is behind it."""
        self._lines.data = ""
        self._lines.at = 0
        self._snapshot = None
        if self._decoder is not None:
            self._decoder.reset()

    async def writelines(self, lines: Iterable[str], /) -> None:
        """Write each of `lines`; no line ends are added."""
        self._check(self.buffer.can_write, "not writable")
        for line in lines:
            await self.write(line)

    async def flush(self) -> None:
        """Hand what was written over to the system (not to the device: see `sync`)."""
        await self.buffer.flush()

    async def sync(self) -> None:
        """Flush, and force data and metadata to the device (fsync(2)); errors as for File.sync."""
        await self.buffer.flush()
        await self.buffer.sync()

    async def datasync(self) -> None:
        """Flush, and force the data to the device (fdatasync(2)); errors as for File.sync."""
        await self.buffer.flush()
        await self.buffer.datasync()

    async def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = "",
        line_buffering: bool | None = None,
    ) -> None:
        """Go on with other settings (io.TextIOWrapper.reconfigure); what is None stays.

        Args:
            encoding: the new encoding; `errors` is then "strict" unless it is given.
            errors: the new way with what cannot be encoded or decoded.
            newline: as for `open`; here "", which cannot be asked for, means that it stays.
            line_buffering: flush after every line that is written.

        Raises:
            io.UnsupportedOperation: it has been read from, so only `line_buffering` can change.
        """
        self.buffer._check_open()
        async with self._turn:
            changing = encoding is not None or errors is not None or newline != ""
            if changing and self._decoder is not None:
                raise io.UnsupportedOperation(
                    "not possible to set the encoding or newline of stream after the first read"
                )
            await self.buffer.flush()
            if changing:
                kept = self.errors if encoding is None else "strict"
                like = io.TextIOWrapper(io.BytesIO(), encoding or self.encoding, errors or kept)
                self._set_text(like, self._newline if newline == "" else newline)
            if line_buffering is not None:
                self.line_buffering = line_buffering

    # -- the position ---------------------------------------------------------------------------

    async def tell(self) -> int:
        """Give the position, a number that means something to `seek` only.

        Raises:
            io.UnsupportedOperation: it has no position.
        """
        self._check(self.buffer._channel is None, "underlying stream is not seekable")
        async with self._turn:
            await self.buffer.flush()
            position = await self.buffer.tell()
            if self._decoder is None or self._snapshot is None:
                return position
            begin, flags, data = self._snapshot
            if self._at_end and not self._lines.left():
                return position
            kept = self._decoder.getstate()
            try:
                found = cookie_of(self._decoder, begin, flags, data, self._lines.at)
            finally:
                self._decoder.setstate(kept)
            return found.packed()

    async def seek(self, cookie: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position that `tell` gave, to the beginning (0) or, with SEEK_END, to the end.

        Raises:
            io.UnsupportedOperation: it has no position, or the move is to somewhere else relative
                to the position or the end.
            ValueError: unknown `whence`, a negative position, or the file is closed.
            OSError: what the position says is not there.
        """
        self._check(self.buffer._channel is None, "underlying stream is not seekable")
        if whence == os.SEEK_CUR:
            if cookie != 0:
                raise io.UnsupportedOperation("can't do nonzero cur-relative seeks")
            cookie, whence = await self.tell(), os.SEEK_SET
        if whence == os.SEEK_END and cookie != 0:
            raise io.UnsupportedOperation("can't do nonzero end-relative seeks")
        if whence not in (os.SEEK_SET, os.SEEK_END):
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if cookie < 0:
            raise ValueError(f"negative seek position {cookie}")
        async with self._turn:
            await self.buffer.flush()
            self._at_end = False
            if whence == os.SEEK_END:
                position = await self.buffer.seek(0, os.SEEK_END)
                self._drop()
                self._encode_from(position)
                return position
            await self._seek(Cookie.unpacked(cookie))
            self._encode_from(cookie)
            return cookie

    async def _seek(self, cookie: Cookie) -> None:
        await self.buffer.seek(cookie.position)
        self._drop()
        if self._decoder is None and (cookie.flags or cookie.characters):
            self._decoder = self._new_decoder()
        if self._decoder is not None and cookie.flags:
            self._decoder.setstate((b"", cookie.flags))
        if not cookie.characters:
            return
        data = await self.buffer.read(cookie.bytes)
        text = self._decoder.decode(data, bool(cookie.final))
        self._snapshot = Snapshot(cookie.position, cookie.flags, data)
        self._lines.data = text
        if len(text) < cookie.characters:
            raise OSError("can't restore logical file position")
        self._lines.at = cookie.characters

    def _encode_from(self, position: int) -> None:
        """Begin to encode at a position: at the beginning of the file, or somewhere else."""
        if self._encoder is not None:
            if position == 0:
                self._encoder.reset()
            else:
                self._encoder.setstate(0)

    async def truncate(self, size: int | None = None, /) -> int:
        """Make the file `size` bytes long, or end it at the position of its bytes."""
        self._check(self.buffer.can_write, "not writable")
        async with self._turn:
            return await self.buffer.truncate(size)

    # -- the end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """Flush and close. Idempotent.

        Raises:
            OSError: something could not be written; the file is closed all the same.
        """
        await self.buffer.close()

    async def __aenter__(self) -> TextFile:
        """Give itself."""
        self.buffer._check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
