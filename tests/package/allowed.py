"""The calls to the kernel that a unit's SystemCallFilter= lines let through, one a line, as systemd would read them."""

import subprocess
import sys


def members(name):
    """A set of systemd's with everything in it, or the call itself."""
    if not name.startswith("@"):
        return {name}
    told = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True)
    inside = set()
    for line in told.stdout.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            inside |= members(word)
    return inside


# What systemd lets through whatever a list of allowed calls says.
allowed = members("@default")
for line in open(sys.argv[1], encoding="utf-8"):
    if line.startswith("SystemCallFilter="):
        value = line.split("=", 1)[1].strip()
        denies = value.startswith("~")
        for word in value.lstrip("~").split():
            allowed = allowed - members(word) if denies else allowed | members(word)
print("\n".join(sorted(allowed)))
