cpdef long long monotonic_ns() noexcept
cpdef long long deadline_ns(double when) noexcept
