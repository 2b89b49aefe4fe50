#!/usr/bin/env bash
# Run tests over a compiled build with AddressSanitizer and UndefinedBehaviorSanitizer;
# docs/reliability.md says what that can see.
#
#   scripts/test-memory.sh PYTHON BUILD REPORTS [pytest argument ...]
#
# PYTHON runs the tests, BUILD is the build's own directory, REPORTS takes what the sanitizers say.
# Exit status: 0 passed, 77 cannot run here (the last line says why), anything else failed.
set -euo pipefail

readonly cannot_run=77
# Absolute, because tests change the directory.
readonly python=$1 build=$PWD/$2 reports=$PWD/$3
shift 3

# PATH: REASON, or PATH::FUNCTION: REASON.
readonly list=scripts/memory/left-out.txt
# What NORIA_TEST_DEEP=1 adds: cancelling at 100,000 random moments. Other long tests repeat what
# the short ones do, and 2000 random graphs of objects would take over ten minutes.
readonly deep=(tests/faults/test_cancel_races.py tests/unit/test_engines_uring_cancel.py)
readonly sanitize=("-fsanitize=address,undefined" -fno-sanitize-recover=all)
# A call of memcpy that was made safe by the C library cannot be watched.
readonly flags=(-O1 -fno-omit-frame-pointer -U_FORTIFY_SOURCE "${sanitize[@]}")
# The errors of scripts/memory/probe.c and how each is called in a report.
readonly probes=(
    "past_the_heap heap-buffer-overflow"
    "past_an_object heap-buffer-overflow"
    "after_free heap-use-after-free"
    "freed_twice double-free"
    "past_the_stack stack-buffer-overflow"
    "overflow signed integer overflow"
    "misaligned misaligned address"
)

say() { printf 'memory: %s\n' "$*"; }

cannot() {
    say "CANNOT RUN HERE: $*" >&2
    exit "$cannot_run"
}

fail() {
    say "$*" >&2
    exit 1
}

# The sanitizers come first in a process that was not compiled with them. Not exported: what runs
# beside the tests is not tested.
find_sanitizers() {
    local name path
    [[ "$(uname -s)" == Linux ]] || cannot "this is $(uname -s); tried on Linux only"
    command -v gcc >/dev/null || cannot "no gcc"
    preload=""
    for name in libasan.so libubsan.so; do
        path="$(gcc -print-file-name="$name")"
        [[ "$path" == /* && -e "$path" ]] || cannot "gcc has no $name"
        preload="$preload${preload:+ }$path"
    done
    preload="$preload $build/reports.so"
}

# PYTHONMALLOC: each Python object is an allocation of its own, with a red zone around it.
# detect_leaks: the interpreter keeps memory when it ends; what noria keeps is seen by the ledger of
# the tests. allocator_may_return_null: too much memory is a MemoryError, as it is without.
# handle_segv: pytest's handler would hide the report. max_free_fill_size: the kernel goes
# unseen, but what it sends from freed memory is not what the tests expect.
watched() {
    local options=detect_leaks=0:allocator_may_return_null=1:handle_segv=2
    options+=:detect_stack_use_after_return=1:max_free_fill_size=1048576
    env LD_PRELOAD="$preload" PYTHONMALLOC=malloc ASAN_OPTIONS="$options:log_path=$1" \
        UBSAN_OPTIONS=print_stacktrace=1 NORIA_SANITIZER_REPORTS="$1" "${@:2}"
}

compile() {
    say "compiling into $build ..."
    CC=gcc CFLAGS="${flags[*]}" LDFLAGS="${sanitize[*]}" NORIA_BUILD=require \
        "$python" setup.py -q build -j "$(nproc)" --build-base "$build" \
        --build-lib "$build/lib" --build-temp "$build/temp" >"$reports/build.log" ||
        fail "not compiled; $reports/build.log"
    gcc "${flags[@]}" -shared -fPIC -o "$build/probe.so" scripts/memory/probe.c
    gcc -O1 -shared -fPIC -o "$build/reports.so" scripts/memory/reports.c
    local blind
    blind="$(find "$build/lib" -name '*.so' -exec grep -L __asan_init {} +)" || true
    [[ -z "$blind" ]] || fail "compiled without the sanitizers: $blind"
}

# Whether the sanitizers see what they are there for.
check_probes() {
    local row name kind
    for row in "${probes[@]}"; do
        name=${row%% *} kind=${row#* }
        if watched "$reports/probe-$name" "$python" scripts/memory/probe.py "$build/probe.so" \
            "$name" >"$reports/probe.log" 2>&1; then
            fail "the sanitizers are blind: $name went unnoticed"
        fi
        grep -qs "$kind" "$reports/probe-$name".* ||
            fail "the sanitizers do not report $name as '$kind'; $reports/probe.log"
    done
    say "${#probes[@]} errors made on purpose, each was seen"
    rm -f "$reports"/probe*
}

# Fills $left_out. A line whose test is gone, or that has no reason, is an error.
read_list() {
    local line path reason function
    left_out=()
    while read -r line; do
        path=${line%%: *} reason=${line#*: }
        function=${path##*::}
        [[ "$path" != "$line" && -n "$reason" ]] || fail "$list: no reason: $line"
        [[ -e "${path%%::*}" ]] || fail "$list: there is no ${path%%::*}"
        if [[ "$function" != "$path" ]]; then
            grep -q "def $function(" "${path%%::*}" || fail "$list: there is no $path"
            left_out+=("--deselect=$path")
        else
            left_out+=("--ignore=$path")
        fi
    done <"$list"
}

# An engine that cannot run has its tests skipped: not because it is broken.
check_engines() {
    PYTHONPATH="$build/lib" watched "$reports/found" "$python" -m noria doctor |
        tee "$reports/doctor.log" | sed -n '/^engines/,$p'
    if grep "a trial failed" "$reports/doctor.log"; then fail "an engine is broken"; fi
}

run_tests() {
    local begin=$SECONDS status=0 what=${*%% --*}
    say "pytest $*"
    NORIA_TEST_BUILD=compiled PYTHONPATH="$build/lib" watched "$reports/found" \
        "$python" -m pytest -q -p no:cacheprovider -rsfE "$@" | tee "$reports/tests.log" |
        sed -u '/^SKIPPED/d' || status=$?
    grep '^SKIPPED' "$reports/tests.log" >>"$reports/skipped.log" || true
    summary+=("$((SECONDS - begin)) s, $what: $(tail -n 1 "$reports/tests.log")")
    [[ "$status" -eq 0 ]] || failed+=("$what: status $status of pytest")
}

# A process for each folder: the longer one lives, the longer its garbage collector takes.
run_folders() {
    local folder
    for folder in tests/*/; do
        folder=${folder%/}
        if compgen -G "$folder/test_*.py" >/dev/null && ! grep -q "^$folder:" "$list"; then
            NORIA_TEST_DEEP="" run_tests "$folder" "${left_out[@]}"
        fi
    done
    if [[ "${NORIA_TEST_DEEP:-}" == 1 ]]; then run_tests -m deep "${deep[@]}"; fi
}

# How often each reason for skipping a test was given.
print_skipped() {
    sed -E 's/^SKIPPED \[([0-9]+)\] [^ ]+ /\1 /' "$reports/skipped.log" |
        awk '{ count = $1; sub(/^[0-9]+ /, ""); sum[$0] += count }
            END { for (reason in sum) print "memory: skipped:", sum[reason], "x", reason }' |
        sort -k 3 -n -r
}

conclude() {
    local found
    print_skipped
    found="$(find "$reports" -name 'found.*' | wc -l)"
    if [[ "$found" -gt 0 ]]; then head -n 60 "$reports"/found.*; fi
    sed 's/^/memory: left out: /' "$list"
    printf 'memory: %s\n' "${summary[@]}"
    if [[ "$found" -gt 0 ]]; then failed+=("$found reports of the sanitizers in $reports"); fi
    if [[ ${#failed[@]} -gt 0 ]]; then printf 'memory: %s\n' "${failed[@]}" >&2 && exit 1; fi
    say "no report of the sanitizers"
}

main() {
    summary=() failed=()
    find_sanitizers
    read_list
    rm -rf "$reports"
    mkdir -p "$reports"
    compile
    check_probes
    check_engines
    if [[ $# -gt 0 ]]; then run_tests "$@"; else run_folders; fi
    conclude
}

main "$@"
