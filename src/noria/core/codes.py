"""The numbers of the operations, in one list so that none is used twice, now or later."""

from typing import Final

ACCEPT: Final = 1
CONNECT: Final = 2
RECEIVE: Final = 3
RECEIVE_INTO: Final = 4
RECEIVE_FROM: Final = 5
RECEIVE_FROM_INTO: Final = 6
SEND: Final = 7
SEND_VECTOR: Final = 8
SEND_TO: Final = 9
WAIT_READABLE: Final = 10
WAIT_WRITABLE: Final = 11

READ_AT: Final = 30
WRITE_AT: Final = 31
FSYNC: Final = 32
