#!/bin/sh
# Print the path of a usable Python: `find-python.sh newest`, `3.12`, `python3.12` or a path.
# Usable means 3.11 or later and able to make a virtual environment. PATH comes before pyenv.
set -eu

SUPPORTED="3.13 3.12 3.11"

usable() {
    "$1" -c 'import sys, venv, ensurepip
assert sys.version_info >= (3, 11)
print(sys.executable)' 2>/dev/null
}

# A version manager's stand-in may be on PATH and still refuse to run: then ask pyenv itself.
of_version() {
    usable "python$1" && return
    command -v pyenv >/dev/null || return 1
    for found in $(pyenv versions --bare | grep "^$1\.[0-9]*\$" | sort -t . -k 3 -n -r); do
        usable "$(pyenv root)/versions/$found/bin/python" && return
    done
    return 1
}

wanted=${1:-newest}
case $wanted in
newest)
    for version in $SUPPORTED; do of_version "$version" && exit; done
    usable python3 && exit
    ;;
3.*) of_version "$wanted" && exit ;;
python3.*) of_version "${wanted#python}" && exit ;;
*) usable "$wanted" && exit ;;
esac

echo "$0: no usable Python for '$wanted': noria needs 3.11 or later with its venv module" \
    "(Debian: python3-venv and python3-dev)" >&2
exit 1
