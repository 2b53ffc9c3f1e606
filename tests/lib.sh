# What the test scripts share. Sourced, not run.

# need COMMAND PACKAGE: makes sure that a command is there, from Debian where that is allowed (root, or passwordless
# sudo); says what is missing where it is not.
need() {
  local PATH=$PATH:/usr/sbin:/sbin
  command -v "$1" >/dev/null 2>&1 && return 0
  from_debian "$2"
  command -v "$1" >/dev/null 2>&1 && return 0
  echo "missing: the command '$1' (Debian package '$2'); install it and run again" >&2
  return 1
}

# need_file PATTERN PACKAGE: the same of a file; a pattern of the shell may stand for it.
need_file() {
  compgen -G "$1" >/dev/null && return 0
  from_debian "$2"
  compgen -G "$1" >/dev/null && return 0
  echo "missing: '$1' (Debian package '$2'); install it and run again" >&2
  return 1
}

# from_debian PACKAGE: installs it where that is allowed.
from_debian() {
  local sudo=() policy=/usr/sbin/policy-rc.d mine=
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  if command -v apt-get >/dev/null 2>&1 && "${sudo[@]}" true 2>/dev/null; then
    [ -n "${APT_UPDATED:-}" ] || { "${sudo[@]}" apt-get update -qq >&2 || true; export APT_UPDATED=1; }
    # No service is started: a policy that denies it, for the time of the install.
    if [ ! -e $policy ]; then
      printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
      "${sudo[@]}" chmod +x $policy
      mine=1
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null || true
    [ -z "$mine" ] || "${sudo[@]}" rm -f $policy
  fi
}
