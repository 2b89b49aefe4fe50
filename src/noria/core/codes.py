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
SEND_FILE: Final = 20
RECEIVE_DATAGRAMS: Final = 12

READ_AT: Final = 30
WRITE_AT: Final = 31
FSYNC: Final = 32
DATASYNC: Final = 33
TRUNCATE: Final = 34
CLOSE_FILE: Final = 35
READ_INTO_AT: Final = 36
READ_VECTOR_AT: Final = 37
WRITE_VECTOR_AT: Final = 38
ALLOCATE: Final = 39

OPEN_AT: Final = 40
STATUS_AT: Final = 41
UNLINK_AT: Final = 42
REMOVE_DIRECTORY_AT: Final = 43
MAKE_DIRECTORY_AT: Final = 44
RENAME_AT: Final = 45
LINK_AT: Final = 46
SYMLINK_AT: Final = 47

ADVISE: Final = 50
RUN: Final = 51
WRITE_FILE: Final = 52
OPEN_FILE: Final = 53

WAIT_CHILD: Final = 60
