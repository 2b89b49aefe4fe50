/* What the compiler for another architecture checks before it compiles noria: that the host's
 * pyconfig.h is true there, and that native/ring.h says what the kernel's own header says. Every
 * header of native/ is included by the command line. */
#include <Python.h>

#include <linux/io_uring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#if !defined(__aarch64__) || !defined(__linux__) || !defined(__LP64__) || defined(WORDS_BIGENDIAN)
#error "this is to be compiled for little-endian LP64 Linux on aarch64"
#endif

/* x86-64 and aarch64 are both LP64 and little-endian, so the headers of one serve the other. */
#define SIZE_IS(type, size) \
    _Static_assert(sizeof(type) == (size), "pyconfig.h of the host, size of " #type)
SIZE_IS(_Bool, SIZEOF__BOOL);
SIZE_IS(short, SIZEOF_SHORT);
SIZE_IS(int, SIZEOF_INT);
SIZE_IS(long, SIZEOF_LONG);
SIZE_IS(long long, SIZEOF_LONG_LONG);
SIZE_IS(float, SIZEOF_FLOAT);
SIZE_IS(double, SIZEOF_DOUBLE);
SIZE_IS(long double, SIZEOF_LONG_DOUBLE);
SIZE_IS(void *, SIZEOF_VOID_P);
SIZE_IS(uintptr_t, SIZEOF_UINTPTR_T);
SIZE_IS(size_t, SIZEOF_SIZE_T);
SIZE_IS(off_t, SIZEOF_OFF_T);
SIZE_IS(fpos_t, SIZEOF_FPOS_T);
SIZE_IS(pid_t, SIZEOF_PID_T);
SIZE_IS(time_t, SIZEOF_TIME_T);
SIZE_IS(wchar_t, SIZEOF_WCHAR_T);
SIZE_IS(pthread_t, SIZEOF_PTHREAD_T);
SIZE_IS(pthread_key_t, SIZEOF_PTHREAD_KEY_T);
_Static_assert(_Alignof(long) == ALIGNOF_LONG, "pyconfig.h of the host, alignment of long");
_Static_assert(_Alignof(size_t) == ALIGNOF_SIZE_T, "pyconfig.h of the host, alignment of size_t");

#define FIELD_IS(ours, own, theirs, kernel) \
    _Static_assert(offsetof(struct ours, own) == offsetof(struct theirs, kernel) && \
                   sizeof(((struct ours *)0)->own) == sizeof(((struct theirs *)0)->kernel), \
                   #ours "." #own)
#define LAYOUT_IS(ours, theirs) \
    _Static_assert(sizeof(struct ours) == sizeof(struct theirs) && \
                   _Alignof(struct ours) == _Alignof(struct theirs), #ours)
#define VALUE_IS(ours, kernel) _Static_assert((uint64_t)(ours) == (uint64_t)(kernel), #ours)

LAYOUT_IS(noria_sq_offsets, io_sqring_offsets);
FIELD_IS(noria_sq_offsets, array, io_sqring_offsets, array);
FIELD_IS(noria_sq_offsets, flags, io_sqring_offsets, flags);
LAYOUT_IS(noria_cq_offsets, io_cqring_offsets);
FIELD_IS(noria_cq_offsets, overflow, io_cqring_offsets, overflow);
FIELD_IS(noria_cq_offsets, cqes, io_cqring_offsets, cqes);
LAYOUT_IS(noria_ring_params, io_uring_params);
FIELD_IS(noria_ring_params, cq_entries, io_uring_params, cq_entries);
FIELD_IS(noria_ring_params, flags, io_uring_params, flags);
FIELD_IS(noria_ring_params, features, io_uring_params, features);
FIELD_IS(noria_ring_params, sq_off, io_uring_params, sq_off);
FIELD_IS(noria_ring_params, cq_off, io_uring_params, cq_off);
LAYOUT_IS(noria_cqe, io_uring_cqe);
FIELD_IS(noria_cqe, res, io_uring_cqe, res);
FIELD_IS(noria_cqe, flags, io_uring_cqe, flags);
LAYOUT_IS(noria_sqe, io_uring_sqe);
FIELD_IS(noria_sqe, opcode, io_uring_sqe, opcode);
FIELD_IS(noria_sqe, flags, io_uring_sqe, flags);
FIELD_IS(noria_sqe, ioprio, io_uring_sqe, ioprio);
FIELD_IS(noria_sqe, fd, io_uring_sqe, fd);
FIELD_IS(noria_sqe, off, io_uring_sqe, off);
FIELD_IS(noria_sqe, addr, io_uring_sqe, addr);
FIELD_IS(noria_sqe, len, io_uring_sqe, len);
FIELD_IS(noria_sqe, op_flags, io_uring_sqe, msg_flags);
FIELD_IS(noria_sqe, user_data, io_uring_sqe, user_data);
FIELD_IS(noria_sqe, buf_group, io_uring_sqe, buf_group);
LAYOUT_IS(noria_getevents_arg, io_uring_getevents_arg);
FIELD_IS(noria_getevents_arg, ts, io_uring_getevents_arg, ts);
LAYOUT_IS(noria_timespec, __kernel_timespec);
LAYOUT_IS(noria_buffer, io_uring_buf);
FIELD_IS(noria_buffer, len, io_uring_buf, len);
FIELD_IS(noria_buffer, bid, io_uring_buf, bid);
FIELD_IS(noria_buffer, tail, io_uring_buf, resv);
LAYOUT_IS(noria_buffer_registration, io_uring_buf_reg);
FIELD_IS(noria_buffer_registration, ring_entries, io_uring_buf_reg, ring_entries);
FIELD_IS(noria_buffer_registration, bgid, io_uring_buf_reg, bgid);

/* VALUE_IS for every constant of ring.h, written by scripts/cross.py. */
#include "values.h"
