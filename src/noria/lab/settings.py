"""Defaults and bounds of the lab, each with its unit in its name and the reason for its value."""

from __future__ import annotations

from typing import Final

BACKLOG_CONNECTIONS: Final = 1024
"""Listen backlog of every contender: above PARALLEL_CONNECTS, so that no SYN is ever dropped."""

PARALLEL_CONNECTS: Final = 256
"""Connects outstanding during a connect storm."""

CLIENTS: Final = 10_000
"""Clients of the main job."""

DESCRIPTORS_SPARE: Final = 64
"""Descriptors a process needs beside one per client: interpreter, epoll, listeners, pipes."""

CLIENTS_PER_ADDRESS: Final = 10_000
"""Clients sent to one 127.0.0.x address. Linux has about 28,000 ephemeral ports for each, and
searches long for a free one when half of them are taken."""

PAIRS_MIN: Final = 15
"""Fewest pairs a comparison is made from."""

GENERATIONS: Final = 3
"""How often a comparison restarts its servers: their memory layout differs from start to start."""

ROUND_S: Final = 0.4
"""Length of one round of a comparison: short, so that slow drift of the machine hits both sides."""

FLOOR_MIN: Final = 0.005
"""A noise floor is never taken to be smaller than this share."""

SAMPLES_PER_ROUND: Final = 1 << 16
"""Latency samples kept of a round, by reservoir beyond it."""

SAMPLES_PER_RUN: Final = 1 << 19
"""Latency samples kept of a long phase."""

READY_TIMEOUT_S: Final = 20.0
"""A child process says that it is ready within this time, or is given up."""

REPLY_GRACE_S: Final = 30.0
"""A load generator answers within a phase's own limits and this."""

CONNECT_TIMEOUT_S: Final = 60.0
DRAIN_TIMEOUT_S: Final = 20.0
DISCONNECT_TIMEOUT_S: Final = 30.0
"""Bounds of the phases: a connection that is not through by then is counted as an error."""

END_TIMEOUT_S: Final = 4.0
"""A child process ends within this time of being asked to, or is killed."""

QUIET_NS: Final = 2_000_000
QUIET_TIMEOUT_NS: Final = 1_000_000_000
"""A server is quiet when its CPU clock stood still for the first; it is awaited no longer than the
second."""

BUSY_SHARE_MIN: Final = 0.8
"""Below this share of one CPU a server waited for its clients, and the table says so."""

DISTURBED_SHARE_MAX: Final = 0.05
"""Above this share of the time others had the server's CPU, and the table says so."""

SIZES_BYTES: Final = (64, 1024, 16384, 102400)
CONNECTIONS: Final = (50, 1000)
"""The rows of `noria lab echo`."""

CHURN_SIZES_BYTES: Final = (64, 1024)
CHURN_CONNECTIONS: Final = (50,)
"""The rows of `noria lab churn`."""

UNIX_SIZES_BYTES: Final = (1024, 102400)
UDP_SIZES_BYTES: Final = (64, 1024)
TLS_SIZES_BYTES: Final = (1024, 102400)
PIPE_SIZES_BYTES: Final = (1024, 102400)
TRAIN_SIZES_BYTES: Final = (1200,)
FEW_CONNECTIONS: Final = (50,)
"""The rows of `noria lab unix`, `udp`, `tls`, `http` and `pipes`."""

TRAIN_DATAGRAMS: Final = 32
TRAIN_CONNECTIONS: Final = (4,)
"""Length of a train and clients of `noria lab trains`: enough of them for the server to have
something to do at any time, few enough for its socket to hold a train of each."""

TRAIN_RECEIVE_BYTES: Final = 1 << 22
"""What a server asks for to hold trains in (SO_RCVBUF); the kernel gives what it allows."""

TLS_IDLE_SIZES_BYTES: Final = (1024, 102400)
TLS_IDLE_CLIENTS: Final = 1000
"""The rows of `noria lab idle --tls`: what was echoed before, on so many connections. Loops that
keep a quarter of a MiB for each must find room as well."""

PARALLEL_SPAWNS: Final = (1, 8)
"""The rows of `noria lab spawn`."""

PIPE_CHILDREN: Final = (1, 8)
"""The rows of `noria lab pipes`, with its sizes."""

FILES_LARGE_MIB: Final = 256
"""The file that `noria lab files` reads from the disk: more blocks than a round reads."""

FILES_SMALL: Final = 1000
"""Small files that a round makes, as its goals have it."""

CAT: Final = "/bin/cat"
"""What messages are sent through."""

PROGRAM: Final = "/bin/true"
"""What is spawned: a program that does nothing, so that the spawning is what is measured."""

CHURN_WARM_S: Final = 0.1
"""How long a server is churned before it is measured, so that one that cannot is found early."""

PORTS_PER_TIME_WAIT: Final = 8
"""Ports a churn may choose from for each connection that TIME_WAIT can hold: Linux looks at the
ports of one parity first, and finds a free one at once where few are taken."""

SOURCES_MAX: Final = 65_000
"""Addresses that a churn may come from."""
