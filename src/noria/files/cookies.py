"""Positions in encoded text, as numbers (io.TextIOBase.tell calls them opaque).

A decoder may hold bytes back, or be in a state that the bytes before have brought about, so a place
in the text need not be a place among the bytes. A position therefore names a byte at which decoding
can begin, the decoder's state there, and how many bytes to decode and how many characters of them
to drop. Most encodings need the first of these only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

_FIELD_BITS = 64
_FIELD = (1 << _FIELD_BITS) - 1


class Cookie(NamedTuple):
    """A position in text.

    Attributes:
        position: the byte at which decoding begins.
        bytes: how many bytes to decode from there on.
        characters: how many characters of what they come to lie before the position.
        final: 1 if these bytes are the last of the file.
        flags: the state of the decoder there; the last field, for it may be of any size.
    """

    position: int
    bytes: int = 0
    characters: int = 0
    final: int = 0
    flags: int = 0

    def packed(self) -> int:
        """Give it as one number."""
        number = 0
        for field in reversed(self):
            number = number << _FIELD_BITS | field
        return number

    @classmethod
    def unpacked(cls, number: int) -> Cookie:
        """Take the number apart."""
        fields = []
        for _ in range(len(cls._fields) - 1):
            fields.append(number & _FIELD)
            number >>= _FIELD_BITS
        position, count, characters, final = fields
        return cls(position, count, characters, final, number)


def cookie_of(decoder: Any, position: int, flags: int, data: bytes, characters: int) -> Cookie:
    """Find the position behind the first characters of what some bytes decode to.

    Args:
        decoder: its state is lost.
        position: where the bytes begin in the file.
        flags: the decoder's state there.
        data: the bytes.
        characters: how many characters lie before the position that is looked for.
    """
    if characters == 0:
        return Cookie(position, flags=flags)

    def decoded(count: int) -> tuple[int, bool, int]:
        """Characters of the first `count` bytes, whether none was held back, the state then."""
        decoder.setstate((b"", flags))
        length = len(decoder.decode(data[:count]))
        held, state = decoder.getstate()
        return length, not held, state

    low, high = 0, len(data)
    while low < high:  # the fewest bytes that make as many characters
        middle = (low + high) // 2
        if decoded(middle)[0] >= characters:
            high = middle
        else:
            low = middle + 1
    length, clean, state = decoded(low)
    if length == characters and clean:
        return Cookie(position + low, flags=state)
    begin = low
    while begin > 0:  # the last byte before at which decoding can begin
        begin -= 1
        found, clean, state = decoded(begin)
        if clean and found <= characters:
            skipped = characters - found
            final = int(length < characters)
            return Cookie(position + begin, low - begin, skipped, final, state)
    return Cookie(position, low, characters, int(length < characters), flags)
