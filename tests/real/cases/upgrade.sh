# The binary is replaced under load, by good ones and by bad ones: nobody notices.
#
# TIDEGATE_UPGRADES: how many upgrades (3); TIDEGATE_UPGRADE_REQUESTS: how many requests meanwhile at least (20000), besides those
# over TLS and HTTP/2; TIDEGATE_UPGRADE_CRASHES, TIDEGATE_UPGRADE_MISTAKES: how many binaries that crash at their start (2)
# and files with a mistake (2) come between; TIDEGATE_UPGRADE_RELOADS: how many reloads (0).
# Clients ask as fast as they are answered. What that comes to without upgrades is measured first, and how much of it was left with them is
# told; TIDEGATE_UPGRADE_LOAD: so many percent are a claim, for a machine that does nothing else.
#
# Not at a pace (h2load --rps): a client of h2load's that has lost its connection to the old process never gets back to its pace.

upgrades=${TIDEGATE_UPGRADES:-3}
requests=${TIDEGATE_UPGRADE_REQUESTS:-20000}
crashes=${TIDEGATE_UPGRADE_CRASHES:-2}
mistakes=${TIDEGATE_UPGRADE_MISTAKES:-2}
reloads=${TIDEGATE_UPGRADE_RELOADS:-0}
load=${TIDEGATE_UPGRADE_LOAD:-}
need h2load nghttp2-client || exit 1

# A node of its own: with a disk, and started from a file that is replaced.
up=$work/upgrade
mkdir -p "$up/bin"
cp "$tidegate" "$up/bin/good" && cp "$up/bin/good" "$up/bin/tidegate" && cp "$root/tests/real/successor.mjs" "$up/bin/wrong"
free_port up_tls && free_port up_plain && free_port up_admin
sed -e "s|:$edge_port|:$up_tls|; s|:$plain_port|:$up_plain|; s|:$admin_port|:$up_admin|; s|^node = .*|node = \"upgrade\"|" \
  -e 's|^drain_timeout = .*|drain_timeout = "60s"\nupgrade_timeout = "20s"|' "$work/tidegate.toml" >"$work/upgrade.toml"
printf '\n[cache]\nmemory = "64MiB"\ndisk = { path = "%s/cache", size = "256MiB" }\n' "$up" >>"$work/upgrade.toml"
cp "$work/upgrade.toml" "$work/upgrade.before"
install_binary() { cp "$up/bin/$1" "$up/bin/next" && mv "$up/bin/next" "$up/bin/tidegate"; }
spawn "$up/node.out" "$up/bin/tidegate" run --config "$work/upgrade.toml"
up_pid=$pid
{ await 20 listens "$up_tls" && await 20 listens "$up_admin"; } || no "the node starts" "$(cat "$up/node.out")"

upgrade() { "$tidegate" upgrade --json --admin "127.0.0.1:$up_admin" "$@" >"$up/upgrade.out" 2>"$up/upgrade.err"; }
# After a success: the new process, which is nobody's child here and is ended with the others.
took_over() {
  up_pid=$(node -e 'console.log(JSON.parse(require("fs").readFileSync(process.argv[1])).pid)' "$up/upgrade.out")
  started+=("$up_pid")
}
ask_up() { edge_port=$up_tls ask "$@"; }
asked_up() { grep -c -F " $1 " "$work/origin.log" || true; }

# --- one by one ---------------------------------------------------------------------------------------------------

for path in /index.html /style.css /app.js /picture.png; do ask_up "$path"; done
ask_up /film.bin
before=$(asked_up /style.css)
first=$up_pid
holds "an upgrade to the same binary succeeds" upgrade
took_over
unlike "another process serves" "^$first\$" "$up_pid"
ask_up /style.css
like "what was stored is a hit there" '^cache-status: upgrade; hit' "$head"
same "and nobody asked the origin" "$before" "$(asked_up /style.css)"
ask_up /film.bin
like "a large body as well" '^cache-status: upgrade; hit' "$head"
same "whole" "$(digest "$work/site/film.bin")" "$(digest "$work/body")"
holds "the process before it ends" await 30 gone "$first"

rm -f "$up/download"
spawn "$up/download.out" curl -sS -m 120 --http1.1 --limit-rate 12M --cacert "$work/ca.pem" --resolve "*:$up_tls:127.0.0.1" \
  -o "$up/download" "https://site.test:$up_tls/big.bin"
download=$pid
await 10 test -s "$up/download"
before=$up_pid
holds "an upgrade under a long download succeeds" upgrade
took_over
holds "the download runs on in the process before" kill -0 "$before" "$download"
ended "$download" 60
same "and ends whole" "0 $(digest "$work/site/big.bin")" "$code $(digest "$up/download")"
holds "then that process ends" await 30 gone "$before"

# What a purge says holds, whoever is asked: before, and from the process before it to the next.
receipt=$("$tidegate" purge --admin "127.0.0.1:$up_admin" "https://site.test:$up_tls/app.js")
like "a purge is acknowledged" 'purge [0-9]+' "$receipt"
number=$(grep -oE 'purge [0-9]+' <<<"$receipt" | grep -oE '[0-9]+')
holds "an upgrade behind a purge succeeds" upgrade
took_over
like "the next process knows the purge" "\"sequence\": ?$number" "$(curl -sS "http://127.0.0.1:$up_admin/v1/purges?since=0")"
ask_up /app.js
like "and what it took is fetched anew" '^cache-status: upgrade; fwd=uri-miss' "$head"

# --- those that go wrong ------------------------------------------------------------------------------------------

serves_on() {
  kill -0 "$up_pid" || return 1
  ask_up /style.css
  grep -qi '^cache-status: upgrade; hit' <<<"$head" || { echo "$told $head"; return 1; }
  # The store is ours: a purge is written down.
  "$tidegate" purge --admin "127.0.0.1:$up_admin" "https://site.test:$up_tls/nothing.css"
}
# refused CLAIM CODE PATTERN: an upgrade fails so, and the node serves on.
refused() {
  upgrade
  same "$1: the upgrade is refused" "$2" "$?"
  like "$1: and why is told" "$3" "$(cat "$up/upgrade.err" "$up/upgrade.out")"
  holds "$1: the node serves on, and purges" serves_on
}
printf '#!/bin/sh\nexit 7\n' >"$up/bin/crash" && printf '#!/bin/sh\nkill -SEGV $$\n' >"$up/bin/fault" && chmod +x "$up/bin/crash" "$up/bin/fault"
printf '#!/bin/sh\nexec sleep 300\n' >"$up/bin/hang" && chmod +x "$up/bin/hang" && printf 'not a program' >"$up/bin/text" && chmod +x "$up/bin/text"
install_binary crash
refused "a binary that exits" 1 'exit code 7'
install_binary fault
refused "a binary that faults" 1 'signal 11'
install_binary text
refused "a binary that is none" 1 'cannot start'
install_binary wrong
for point in hello released go; do
  echo "$point exit" >"$up/bin/successor.how"
  refused "a binary that ends at $point" 1 'exit code 9'
done
echo "released refuse" >"$up/bin/successor.how"
refused "a binary that refuses" 1 'gave up: not today'
sed 's|upgrade_timeout = .*|upgrade_timeout = "1500ms"|' "$work/upgrade.before" >"$work/upgrade.toml"
install_binary good
holds "a shorter patience comes with an upgrade" upgrade
took_over
install_binary hang
refused "a binary that hangs" 1 'does not get on within'
install_binary wrong
for point in released go; do
  echo "$point hang" >"$up/bin/successor.how"
  refused "a binary that hangs at $point" 1 'does not get on within'
done
# Who purges while it is not settled whose the store is waits, and is told what became of it.
echo "released hang" >"$up/bin/successor.how"
spawn "$up/hanging.out" "$tidegate" upgrade --admin "127.0.0.1:$up_admin"
hanging=$pid
until [ "$(pgrep -cf "$up/bin/tidegate run" || true)" -gt 1 ]; do :; done
receipt=$("$tidegate" purge --admin "127.0.0.1:$up_admin" "https://site.test:$up_tls/style.css")
like "a purge during an upgrade that fails is applied" 'forgot 1 stored response' "$receipt"
ended "$hanging" 20
ask_up /style.css
like "and holds" '^cache-status: upgrade; fwd=uri-miss' "$head"
install_binary good
printf '[[site.route]]\npath = "/other/*"\ncach = "off"\n' >>"$work/upgrade.toml"
refused "settings with a mistake" 2 'did you mean `cache`'
cp "$work/upgrade.before" "$work/upgrade.toml"
holds "and after all that a good one takes over" upgrade
took_over

# --- under load ---------------------------------------------------------------------------------------------------

ask_up /index.html
paths="/index.html /style.css /app.js /strict/page.html /brief/page.html"
for path in $paths; do echo "http://site.test$path"; done >"$work/up.urls"
rm -f "$up/stop"
# HTTP/1.1 by as many requests as the node answers, round after round; HTTP/2 by a client that understands GOAWAY.
round=5000
load1() {
  local rounds=0 began ended
  began=$(date +%s%N)
  while [ ! -e "$up/stop" ] || [ $((rounds * round)) -lt "$requests" ]; do
    rounds=$((rounds + 1))
    h2load --h1 -n "$round" -c 16 -i "$work/up.urls" --connect-to="127.0.0.1:$up_plain" >"$up/round.out" 2>&1
    if ! grep -q "status codes: $round 2xx" "$up/round.out" || ! grep -q "$round succeeded, 0 failed" "$up/round.out"; then
      cat "$up/round.out"
    fi
  done
  ended=$(date +%s%N)
  echo "$((rounds * round)) requests, $((rounds * round * 1000 / ((ended - began) / 1000000 + 1))) a second"
}
# shellcheck disable=SC2086
spawn "$up/load2.out" node "$root/tests/real/load2.mjs" "$up_tls" "$work/ca.pem" "$up/stop" "$((requests / 20))" $paths
load2=$pid
# What it answers over HTTP/1 beside that.
capacity=$(h2load --h1 -D 5 -c 16 -i "$work/up.urls" --connect-to="127.0.0.1:$up_plain" 2>&1 | sed -n 's/^finished in [^,]*, \([0-9]*\)[.0-9]* req.s.*/\1/p')
# In rounds of some seconds where that is to be compared, so that their beginnings do not count.
[ -z "$load" ] || round=$((capacity * 4))
load1 >"$up/load1.out" 2>&1 &
load1=$!
started+=("$load1")
# A page that changes: whoever purges it must see what it says now, whichever process answers.
wrong=0 stale=0 unpurged=0
reload_up() { "$tidegate" reload --admin "127.0.0.1:$up_admin" >/dev/null 2>&1; }
for ((at = 0; at < upgrades; at++)); do
  for ((bad = at; bad < crashes; bad += upgrades)); do
    install_binary crash
    upgrade && wrong=$((wrong + 1))
  done
  install_binary good
  for ((bad = at; bad < mistakes; bad += upgrades)); do
    { cat "$work/upgrade.before"; printf '[[site.route]]\npath = "/other/%s/*"\ncach = "off"\n' "$bad"; } >"$work/upgrade.toml"
    # Half by an upgrade, half by a reload.
    if [ $((bad % 2)) = 0 ]; then upgrade; else reload_up; fi
    [ $? = 2 ] || wrong=$((wrong + 1))
    cp "$work/upgrade.before" "$work/upgrade.toml"
  done
  for ((good = at; good < reloads; good += upgrades)); do
    if [ $((good % 2)) = 0 ]; then sed 's|^eject_after = 1000|eject_after = 1001|' "$work/upgrade.before" >"$work/upgrade.toml"; else cp "$work/upgrade.before" "$work/upgrade.toml"; fi
    reload_up || wrong=$((wrong + 1))
  done
  cp "$work/upgrade.before" "$work/upgrade.toml"
  echo "<title>$at</title>" >"$work/site/now.html"
  spawn "$up/purge.out" "$tidegate" purge --admin "127.0.0.1:$up_admin" "https://site.test:$up_tls/now.html"
  purging=$pid
  if upgrade; then took_over; else wrong=$((wrong + 1)); cp "$up/upgrade.err" "$up/failed.$at"; fi
  ended "$purging" 40
  if [ "$code" = 0 ]; then
    ask_up /now.html
    [ "$(cat "$work/body")" = "<title>$at</title>" ] || stale=$((stale + 1))
  else
    # One that met the old process at its end is refused, and says so.
    grep -q 'taken over\|no node answers\|call to' "$up/purge.out" || unpurged=$((unpurged + 1))
    "$tidegate" purge --admin "127.0.0.1:$up_admin" "https://site.test:$up_tls/now.html" >/dev/null || unpurged=$((unpurged + 1))
  fi
done
same "every good one takes over, and no bad one" 0 "$wrong"
same "no purge is lost, and none is refused without saying why" "0 0" "$stale $unpurged"
touch "$up/stop"
ended "$load1" 3600
echo "        $upgrades upgrades, $crashes crashes, $mistakes mistakes, $reloads reloads; HTTP/1: $(tail -n 1 "$up/load1.out")"
rate=$(sed -n '$s/.*requests, \([0-9]*\) a second/\1/p' "$up/load1.out")
share=$((${rate:-0} * 100 / ${capacity:-1}))
echo "        HTTP/1: $rate a second on average, $share % of the $capacity a second that it answers without upgrades"
[ -z "$load" ] || holds "the load was at least $load % of what the node answers" [ "$share" -ge "$load" ]
same "HTTP/1: no request failed, and none was answered with an error" 1 "$(wc -l <"$up/load1.out")"
ended "$load2" 600
echo "        HTTP/2: $(cat "$up/load2.out")"
same "HTTP/2: no request failed, and none was answered with an error" 0 "$code"
ask_up /index.html
like "what is stored is still a hit" '^cache-status: upgrade; hit' "$head"
kill -TERM "$up_pid"
holds "the last process ends well" await 70 gone "$up_pid"
unlike "nobody says that the store was not in order" 'not closed in order|cannot be taken back|panicked' "$(cat "$up/node.out")"
