# Two hundred clients of one body that is larger than memory: one fetch, and memory that does not grow with either. Not in the default
# run: it takes TIDEGATE_LARGE_MB (1024) of disk twice, and minutes.

mb=${TIDEGATE_LARGE_MB:-1024}
clients=${TIDEGATE_LARGE_CLIENTS:-200}
# Of all but one; that one reads as fast as it can, to the end.
rate=${TIDEGATE_LARGE_RATE:-2M}

# Bytes that no two chunks have in common.
head -c $((mb << 20)) /dev/zero | openssl enc -aes-128-ctr -K 00 -iv 00 -nosalt 2>/dev/null >"$work/site/large.bin"
touch -d '2026-01-01 00:00:00 UTC' "$work/site/large.bin"

free_port large_port && free_port large_admin
cat >"$work/large.toml" <<TOML
[[listener]]
address = "127.0.0.1:$large_port"

[admin]
address = "127.0.0.1:$large_admin"

[cache]
memory = "64MiB"
disk = { path = "$work/large-cache", size = "$((mb * 2))MiB" }

[log]
access = "off"

[pool.site]
origins = ["https://127.0.0.1:$origin_port"]
server_name = "origin.test"
ca = "ca.pem"

[[site]]
hosts = ["*"]
pool = "site"
TOML
spawn "$work/large.out" "$tidegate" run --config "$work/large.toml"
large_node=$pid
holds "a node with 64 MiB of memory starts" await 20 listens "$large_port"

rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$large_node/status"; }
large=http://127.0.0.1:$large_port
for _ in $(seq 20); do curl -sS -o /dev/null "$large/index.html"; done
idle=$(rss_kb)
before=$(asked /large.bin)

readers=()
for _ in $(seq $((clients - 1))); do
  spawn /dev/null curl -sS -o /dev/null --limit-rate "$rate" "$large/large.bin"
  readers+=("$pid")
done
spawn "$work/large.digest" sh -c "curl -sS '$large/large.bin' | sha256sum | cut -d' ' -f1"
fast=$pid
peak=$idle
until gone "$fast"; do
  now=$(rss_kb)
  [ "${now:-0}" -le "$peak" ] || peak=$now
  sleep 0.1
done
reading=0
for reader in "${readers[@]}"; do gone "$reader" || reading=$((reading + 1)); done
for reader in "${readers[@]}"; do end "$reader"; done

same "who reads fast has all of $mb MB" "$(digest "$work/site/large.bin")" "$(cat "$work/large.digest")"
holds "while the others are at it ($reading of $((clients - 1)))" test "$reading" -gt $((clients * 9 / 10))
same "the origin was asked once" 1 $(($(asked /large.bin) - before))
echo "        resident: $((idle / 1024)) MB idle, $((peak / 1024)) MB at most"
holds "and memory grew by $(((peak - idle) / 1024)) MB, 64 at most" test $((peak - idle)) -le $((64 * 1024))
end "$large_node"
rm -rf "$work/large-cache" "$work/site/large.bin"
