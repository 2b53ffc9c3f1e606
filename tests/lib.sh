# What the test scripts share. Sourced, not run.

# need COMMAND PACKAGE: makes sure that a command is there, from Debian where that is allowed (root, or passwordless
# sudo); says what is missing where it is not.
need() {
  local PATH=$PATH:/usr/sbin:/sbin sudo=() policy=/usr/sbin/policy-rc.d mine=
  command -v "$1" >/dev/null 2>&1 && return 0
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  if command -v apt-get >/dev/null 2>&1 && "${sudo[@]}" true 2>/dev/null; then
    [ -n "${APT_UPDATED:-}" ] || { "${sudo[@]}" apt-get update -qq >&2 || true; export APT_UPDATED=1; }
    # No service is started: a policy that denies it, for the time of the install.
    if [ ! -e $policy ]; then
      printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
      "${sudo[@]}" chmod +x $policy
      mine=1
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null || true
    [ -z "$mine" ] || "${sudo[@]}" rm -f $policy
  fi
  command -v "$1" >/dev/null 2>&1 && return 0
  echo "missing: the command '$1' (Debian package '$2'); install it and run again" >&2
  return 1
}
