/* Spawns processes as fast as it goes: the limit for loops that do so for asyncio. posix_spawn
 * makes them without a copy of this process, and waiting blocks, so there is no loop at all. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "native.h"

#include <errno.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000ull + (uint64_t)used.tv_nsec;
}

static uint64_t children_cpu_ns(void)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_CHILDREN, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ull
           + (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ull;
}

int lab_spawn(const char *path, uint64_t duration_ns, size_t parallel, struct lab_spawned *result)
{
    char *arguments[] = {(char *)path, NULL};
    uint64_t start_ns = lab_now_ns();
    size_t alive = 0;
    int error = 0;
    *result = (struct lab_spawned){.cpu_ns = cpu_ns(), .children_cpu_ns = children_cpu_ns()};
    do {
        pid_t pid;
        int status;
        while (!error && alive < parallel && lab_now_ns() - start_ns < duration_ns) {
            error = posix_spawn(&pid, path, NULL, NULL, arguments, environ);
            alive += error == 0;
        }
        if (alive == 0)
            break;
        if (waitpid(-1, &status, 0) < 0) {
            if (errno == EINTR)
                continue;
            error = errno;
            break;
        }
        alive--;
        result->spawned++;
        result->failed += status != 0;
    } while (alive || lab_now_ns() - start_ns < duration_ns);
    result->elapsed_ns = lab_now_ns() - start_ns;
    result->cpu_ns = cpu_ns() - result->cpu_ns;
    result->children_cpu_ns = children_cpu_ns() - result->children_cpu_ns;
    return -error;
}
#endif
