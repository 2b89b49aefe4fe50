#!/usr/bin/env bash
# Run noria's tests on the Windows CPython under Wine; docs/howto/test-on-windows.md.
#
#   scripts/test-windows.sh [pytest option ...]      tests/unit, tests/conformance, a TCP echo
#   scripts/test-windows.sh [pytest argument ...]    with a path among them: only that
#   scripts/test-windows.sh --echo [argument ...]    only the echo
#   scripts/test-windows.sh --python [argument ...]  the Windows Python itself
#   scripts/test-windows.sh --setup                  only set up and check the set-up
#
# Exit status: 0 passed, 77 cannot run here (the last line says why), anything else failed.
set -euo pipefail

readonly cannot_run=77
readonly test_seconds="${NORIA_WINDOWS_TIMEOUT:-1800}"
readonly per_test_seconds=60
readonly echo_seconds=120
readonly download_seconds=900
readonly install_seconds=900
readonly wine_start_seconds=180

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
readonly root
readonly helpers="$root/scripts/windows"
cache="${NORIA_WINDOWS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/noria/windows}"

say() { printf 'windows: %s\n' "$*"; }

# Ends the script: something this machine lacks.  Where it must not, the status is a failure.
cannot() {
    say "CANNOT RUN HERE: $*" >&2
    [[ -z "${NORIA_WINDOWS_REQUIRED:-}" ]] || exit 1
    exit "$cannot_run"
}

# step NAME KEY PRODUCT COMMAND...: runs COMMAND unless PRODUCT, a folder, was made under this
# KEY.  COMMAND fills $work, which becomes PRODUCT only when all of it succeeded.
step() {
    local name=$1 key=$2 product=$3 begin=$SECONDS log
    shift 3
    [[ "$(cat "$product/.stamp" 2>/dev/null)" != "$key" ]] || return 0
    log="$cache/log/$name.log"
    work="$product.new"
    rm -rf "$work" "$product"
    mkdir -p "$work"
    say "$name ..."
    if ! "$@" >"$log" 2>&1 9>&-; then
        tail -n 15 "$log" >&2
        cannot "$name failed; all of it is in $log"
    fi
    printf '%s\n' "$key" >"$work/.stamp"
    mv "$work" "$product"
    say "$name: $((SECONDS - begin)) s"
}

checksum() { cat "$@" | sha256sum | cut -c1-16; }

# --- what the machine must have ---------------------------------------------------------------

# The host's CPython 3.11: its standard library serves the Windows one.
find_host_python() {
    local candidate
    for candidate in "${NORIA_WINDOWS_PYTHON:-}" python3.11 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11.*/bin/python3.11 python3 python; do
        if [[ -z "$candidate" ]] || ! command -v "$candidate" >/dev/null; then continue; fi
        host_python="$(timeout 20 "$candidate" -I -c '
import os, sys, sysconfig
library = sysconfig.get_path("stdlib")
if sys.version_info[:2] == (3, 11) and sys.implementation.name == "cpython":
    if os.path.exists(os.path.join(library, "asyncio", "windows_events.py")):
        print(sys.executable)' 2>/dev/null)" || continue
        [[ -z "$host_python" ]] || return 0
    done
    cannot "no standard library of CPython 3.11 found: no python3.11 on PATH or under pyenv" \
        "(NORIA_WINDOWS_PYTHON can name one)"
}

find_pip() {
    local candidate
    for candidate in "$host_python" python3 python; do
        if timeout 60 "$candidate" -m pip --version >/dev/null 2>&1; then
            pip=("$candidate" -m pip)
            return 0
        fi
    done
    echo "no pip: neither the CPython 3.11 found nor python3 has it"
    return 1
}

find_wine() {
    local candidate
    for candidate in wine64 /usr/lib/wine/wine64 wine; do
        if wine="$(command -v "$candidate")"; then return 0; fi
    done
    wine=""
    return 1
}

readonly packages=(wine wine64 gcc-mingw-w64-x86-64)
readonly compiler=x86_64-w64-mingw32-gcc
readonly resource_compiler=x86_64-w64-mingw32-windres

install_packages() {
    local missing=() log="$cache/log/packages.log" begin=$SECONDS
    find_wine || missing+=(wine)
    command -v "$compiler" >/dev/null || missing+=("$compiler")
    [[ ${#missing[@]} -gt 0 ]] || return 0
    local advice="missing: ${missing[*]} (apt-get install --no-install-recommends ${packages[*]})"
    command -v apt-get >/dev/null || cannot "$advice; there is no apt-get here"
    [[ $EUID -eq 0 ]] || cannot "$advice; apt-get needs root"
    say "packages ... (missing: ${missing[*]})"
    export DEBIAN_FRONTEND=noninteractive
    if ! timeout "$download_seconds" apt-get -q -o DPkg::Lock::Timeout=120 update \
        >"$log" 2>&1 9>&-; then
        tail -n 15 "$log" >&2
        cannot "apt-get update was refused or took over $download_seconds s"
    fi
    if ! timeout --kill-after=30 "$install_seconds" apt-get -q -y -o DPkg::Lock::Timeout=120 \
        install --no-install-recommends "${packages[@]}" >>"$log" 2>&1 9>&-; then
        tail -n 15 "$log" >&2
        cannot "apt-get install ${packages[*]} was refused or took over $install_seconds s"
    fi
    find_wine || cannot "no wine after installing ${packages[*]}"
    command -v "$compiler" >/dev/null || cannot "no $compiler after installing ${packages[*]}"
    say "packages: $((SECONDS - begin)) s"
}

# --- the set-up, step by step -----------------------------------------------------------------

# download REQUIREMENTS [pip option ...]: wheels that the Windows Python can use, into $work.
download() {
    local requirements=$1
    shift
    find_pip && timeout "$download_seconds" "${pip[@]}" download --disable-pip-version-check \
        --no-input --platform win_amd64 --python-version 311 --implementation cp \
        --only-binary=:all: --dest "$work" --requirement "$requirements" "$@"
}

make_home() {
    "$host_python" "$helpers/assemble.py" runtime "$cache"/runtime-wheel/*.whl "$work" &&
        "$resource_compiler" --include-dir "$helpers" "$helpers/python.rc" -O coff \
            -o "$work/python.o" &&
        "$compiler" -O2 -municode "$helpers/main.c" "$work/python.o" "$work/python311.dll" \
            -o "$work/python.exe" &&
        rm "$work/python.o"
}

make_packages() { "$host_python" "$helpers/assemble.py" packages "$cache/test-wheels" "$work"; }

# Wine 8 calls itself Windows 7 unless told; CPython 3.11 is for Windows 8.1 and later.
make_prefix() {
    in_prefix "$work" timeout --kill-after=10 "$wine_start_seconds" "$wine" wineboot --init \
        </dev/null &&
        in_prefix "$work" timeout --kill-after=10 60 "$wine" winecfg -v win10 </dev/null &&
        in_prefix "$work" timeout 60 "$wineserver" -w
}

# No Mono, no Gecko, no desktop menu entries: none is needed, and each would ask a question.
in_prefix() {
    local prefix=$1
    shift
    WINEPREFIX="$prefix" WINEARCH=win64 WINEDEBUG="${WINEDEBUG:--all}" \
        WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe=" "$@"
}

# Safe because the lock is held: no other run uses these prefixes.
stop_wine() {
    local prefix
    for prefix in "$cache/prefix" "$cache/prefix.new"; do
        [[ ! -d "$prefix" ]] || WINEPREFIX="$prefix" "$wineserver" -k >/dev/null 2>&1 || true
    done
}

windows_path() { printf 'Z:%s' "${1//\//\\}"; }

# windows_python SECONDS ARGUMENT...: 0 seconds is no limit.  Its output goes through a pipe: under
# Wine a Python whose standard stream is a regular file does not start ("init_sys_streams ...
# Invalid handle").  What Wine leaves running would hold that pipe and, but for `9>&-`, the lock.
windows_python() {
    local seconds=$1
    shift
    {
        local status=0
        in_prefix "$cache/prefix" env -u PYTHONHOME -u PYTHONSTARTUP -u PYTHONDONTWRITEBYTECODE \
            -u VIRTUAL_ENV -u TMPDIR -u PYTEST_ADDOPTS -u PYTEST_PLUGINS \
            PYTHONPATH="$(windows_path "$root/src");$(windows_path "$cache/packages")" \
            PYTHONPYCACHEPREFIX="$(windows_path "$cache/bytecode")" \
            PYTHONIOENCODING=utf-8 PYTHONUNBUFFERED=1 NORIA_TEST_BUILD=interpreted \
            timeout --foreground --kill-after=10 "$seconds" "$wine" "$cache/home/python.exe" "$@" \
            </dev/null 2>&1 || status=$?
        stop_wine
        exit "$status"
    } 9>&- | sed -u 's/\r$//'
}

check_harness() {
    windows_python 180 -m pytest -p no:cacheprovider --noconftest -c NUL \
        --rootdir "$(windows_path "$helpers")" "$(windows_path "$helpers/check_harness.py")"
}

set_up() {
    [[ "$(uname -sm)" == "Linux x86_64" ]] || cannot "this is $(uname -sm), not Linux x86_64"
    mkdir -p "$cache/log" 2>/dev/null || cannot "cannot write to $cache"
    cache="$(cd "$cache" && pwd -P)"
    exec 9>"$cache/lock"
    flock -n 9 || say "waiting for another run to end ..."
    flock -w 3600 9 || cannot "another run has held $cache/lock for an hour"
    find_host_python
    install_packages
    wineserver="$(command -v "${wine%/*}/wineserver64" || command -v wineserver)" ||
        cannot "wine is there, but wineserver is not"
    trap stop_wine EXIT

    local runtime_key tests_key home_key prefix_key library
    library="$("$host_python" -I -c 'import sys; print(sys.version)')"
    runtime_key="$(checksum "$helpers/requirements-runtime.txt")"
    tests_key="$(checksum "$helpers/requirements-tests.txt")"
    home_key="$runtime_key $(checksum "$helpers"/{main.c,python.*,assemble.py}) $library"
    prefix_key="win10 $("$wine" --version 2>/dev/null)" || prefix_key="win10"
    step runtime-wheel "$runtime_key" "$cache/runtime-wheel" \
        download "$helpers/requirements-runtime.txt" --no-deps
    step home "$home_key" "$cache/home" make_home
    step test-wheels "$tests_key" "$cache/test-wheels" \
        download "$helpers/requirements-tests.txt"
    step packages-folder "$tests_key" "$cache/packages" make_packages
    step wine-prefix "$prefix_key" "$cache/prefix" make_prefix
    step check "$home_key $tests_key $prefix_key $(checksum "$helpers/check_harness.py")" \
        "$cache/check" check_harness
}

# --- the runs ---------------------------------------------------------------------------------

# bounded_run WHAT SECONDS ARGUMENT...: the Windows Python, bounded, with the verdict in one line.
bounded_run() {
    local what=$1 seconds=$2 status=0 begin=$SECONDS
    shift 2
    windows_python "$seconds" "$@" || status=$?
    case $status in
        0) say "$what: passed, $((SECONDS - begin)) s" ;;
        124 | 137) say "$what: FAILED, stopped after $seconds s" ;;
        *) say "$what: FAILED, status $status, $((SECONDS - begin)) s" ;;
    esac
    [[ $status -ne "$cannot_run" ]] || status=1
    return "$status"
}

run_echo() { bounded_run echo "$echo_seconds" scripts/windows/echo.py "$@"; }

# Whether a pytest argument names a file or folder.
names_path() {
    local argument
    for argument in "$@"; do
        [[ ! -e "${argument%%::*}" ]] || return 0
    done
    return 1
}

# pytest refuses to select by a marker that pyproject.toml does not list.
run_tests() {
    local selection=()
    if grep -q '"posix:' pyproject.toml; then selection=(-m "not posix"); fi
    bounded_run tests "$test_seconds" -m pytest -p no:cacheprovider --timeout "$per_test_seconds" \
        "${selection[@]}" "$@"
}

main() {
    local status=0
    set_up
    cd "$root"
    case "${1:-}" in
        --setup)
            say "ready"
            ;;
        --echo)
            shift
            run_echo "$@" || status=$?
            ;;
        --python)
            shift
            windows_python 0 "$@" || status=$?
            ;;
        *)
            if names_path "$@"; then
                run_tests "$@" || status=$?
            else
                run_tests tests/unit tests/conformance "$@" || status=$?
                run_echo || status=$?
            fi
            ;;
    esac
    return "$status"
}

main "$@"
