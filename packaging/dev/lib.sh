# Sourced by the scripts beside it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=$root/.venv

say() { printf 'set-up: %s\n' "$*" >&2; }

fail() {
    printf 'set-up: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# Start the calling script again as root. What tells apt and pip how to reach their mirrors goes with it.
be_root() {
    [ "$(id -u)" != 0 ] || return 0
    command -v sudo >/dev/null || fail "this needs root, and there is no sudo here" "su -c 'make $*'"
    exec sudo --preserve-env=http_proxy,https_proxy,no_proxy,PIP_INDEX_URL,PIP_EXTRA_INDEX_URL,PIP_CERT "$0" "$@"
}

# Under sudo, what is made in the checkout belongs to the person who called, so that they can change and delete it.
by_sudo() { [ -n "${SUDO_UID:-}" ] && [ "$SUDO_UID" != 0 ]; }

give_back() { ! by_sudo || chown -Rh "$SUDO_UID:$SUDO_GID" "$@"; }
