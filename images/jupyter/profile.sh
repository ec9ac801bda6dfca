# A terminal is a login shell, and Debian's /etc/profile starts PATH afresh.
PATH="$HOME/.local/bin:/opt/nbd/bin:$PATH"
