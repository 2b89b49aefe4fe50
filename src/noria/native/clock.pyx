"""The monotonic clock, read without making a Python integer (clock_gettime(2))."""

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    enum: CLOCK_MONOTONIC


cpdef long long monotonic_ns() noexcept:
    """Nanoseconds of the clock that `time.monotonic()` reads."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <long long>now.tv_sec * 1_000_000_000 + now.tv_nsec


NEVER_NS = 2**63 - 1

cdef double SECONDS_MAX = 9.2e9
cdef long long EXACT = <long long>1 << 53  # below, a float tells one nanosecond from the next


cpdef long long deadline_ns(double when) noexcept:
    """Convert seconds to the least count of nanoseconds that is not earlier."""
    cdef long long nanoseconds
    if not when < SECONDS_MAX:
        return 0x7fffffffffffffff  # also infinity and not-a-number
    if when < -SECONDS_MAX:
        return -0x7fffffffffffffff
    nanoseconds = <long long>(when * 1e9)
    if nanoseconds > when * 1e9:
        nanoseconds -= 1
    while <double>nanoseconds / 1e9 < when:
        nanoseconds += 1
    if nanoseconds < EXACT and <double>(nanoseconds - 1) / 1e9 >= when:
        nanoseconds -= 1  # the product was rounded up
    return nanoseconds
