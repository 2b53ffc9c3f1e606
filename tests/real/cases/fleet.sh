# A fleet of four nodes on one stream of purges: a real nats-server that is killed and comes back, nodes that are killed and come
# back, purges meanwhile; with a receipt nothing stale is served anywhere.

fleet=$work/fleet
mkdir -p "$fleet"
free_port nats_port
fleet_edges=() fleet_admins=() fleet_pids=()

write_fleet() {
  printf 'port: %s\nhost: 127.0.0.1\njetstream { store_dir: "%s/stream" }\n' "$nats_port" "$fleet" >"$fleet/nats.conf"
  local at
  for at in 0 1 2 3; do
    cat >"$fleet/node-$at.toml" <<TOML
node = "fleet-$at"
[[listener]]
address = "127.0.0.1:${fleet_edges[$at]}"
[admin]
address = "127.0.0.1:${fleet_admins[$at]}"
[cache]
memory = "32MiB"
disk = { path = "disk-$at", size = "256MiB" }
[log]
access = "off"
[pool.site]
origins = ["https://127.0.0.1:$origin_port"]
server_name = "origin.test"
ca = "../ca.pem"
[[site]]
hosts = ["site.test"]
pool = "site"
[purge]
bus = { nats = "nats://127.0.0.1:$nats_port" }
unsynced_after = "3s"
TOML
  done
}

start_broker() {
  spawn "$fleet/nats.log" nats-server -c "$fleet/nats.conf"
  broker=$pid
  await 10 listens "$nats_port"
}
start_member() {
  spawn "$fleet/node-$1.log" "$tidegate" run --config "$fleet/node-$1.toml"
  fleet_pids[$1]=$pid
}
member_ready() { curl -sf -m 5 --noproxy '*' "http://127.0.0.1:${fleet_admins[$1]}/ready"; }
members_ready() { for at in 0 1 2 3; do member_ready $at >/dev/null || return 1; done; }
# page NODE PATH: its Cache-Status there.
page() { curl -s -m 10 --noproxy '*' -o "$work/body" -D - -H 'Host: site.test' "http://127.0.0.1:${fleet_edges[$1]}$2" | tr -d '\r' | sed -n 's/^cache-status: *//Ip'; }
hits_everywhere() { for at in 0 1 2 3; do page $at "$1" >/dev/null && [[ $(page $at "$1") == *hit* ]] || return 1; done; }
order() { "$tidegate" purge --admin "127.0.0.1:${fleet_admins[$1]}" "${@:2}" 2>&1; }

for at in 0 1 2 3; do
  free_port fleet_port && fleet_edges+=("$fleet_port")
  free_port fleet_port && fleet_admins+=("$fleet_port")
done
need nats-server nats-server || return 1
write_fleet
holds "a broker is there" start_broker
for at in 0 1 2 3; do start_member $at; done
holds "four nodes are ready once they have heard all there was" await 20 members_ready

# What a receipt says is so: whatever the scope, whichever node is told.
stale=0 late=0
for round in $(seq 40); do
  hits_everywhere /style.css || no "the page is stored everywhere" "round $round"
  case $((round % 4)) in
  0) receipt=$(order $((round % 4)) --wait fleet http://site.test/style.css) || late=$((late + 1)) ;;
  1) receipt=$(order $((round % 4)) --wait fleet --host site.test) || late=$((late + 1)) ;;
  2) receipt=$(order $((round % 4)) --wait fleet --prefix http://site.test/sty) || late=$((late + 1)) ;;
  3) receipt=$(order $((round % 4)) --wait fleet --everything) || late=$((late + 1)) ;;
  esac
  for at in 0 1 2 3; do [[ $(page $at /style.css) != *hit* ]] || stale=$((stale + 1)); done
done
same "40 purges with the fleet's receipt: no node was late" 0 "$late"
same "40 purges with the fleet's receipt: nothing stale was served on any node" 0 "$stale"
for at in 0 1 2 3; do like "the receipt names node $at" "fleet-$at" "$receipt"; done

# The broker is killed. A purge holds where it was ordered, and says who does not have it.
await 10 hits_everywhere /app.js || no "the page is stored everywhere" ""
end "$broker"
receipt=$(order 0 --wait fleet http://site.test/app.js)
code=$?
same "without a broker the fleet's receipt fails" 1 "$code"
like "and says that the stream has not got it" 'stream' "$receipt"
unlike "it holds where it was ordered" 'hit' "$(page 0 /app.js)"
distrusts() { for at in 1 2 3; do [[ $(page $at /app.js) != *"; hit"* ]] || return 1; done; }
holds "who has heard nothing for too long confirms what it has before it is used" await 20 distrusts
start_broker
holds "the broker comes back, and so do the nodes" await 30 members_ready
again() { order 1 --wait fleet http://site.test/index.html; }
holds "and the fleet's receipt is good again" await 20 again
heard() { for at in 0 1 2 3; do curl -s -m 5 "http://127.0.0.1:${fleet_admins[$at]}/v1/purges?since=0" | grep -q 'site.test/app.js' || return 1; done; }
holds "the purge that was ordered meanwhile has come to all" await 20 heard

# A node that was away hears what it missed before it is ready.
await 10 hits_everywhere /style.css || no "the page is stored everywhere" "$(for at in 0 1 2 3; do page $at /style.css; done)"
end "${fleet_pids[3]}"
order 0 http://site.test/style.css >/dev/null
start_member 3
holds "a node that was killed comes back" await 20 member_ready 3
unlike "and does not serve what was purged meanwhile" '; hit' "$(page 3 /style.css)"
like "it tells how far it is behind" '^tidegate_purge_lag_seconds [0-9]' "$(curl -s "http://127.0.0.1:${fleet_admins[3]}/metrics")"

# The stream is lost, with everything in it.
await 10 hits_everywhere /style.css || no "the page is stored everywhere" "$(for at in 0 1 2 3; do page $at /style.css; done)"
end "$broker"
rm -rf "$fleet/stream"
start_broker
holds "the nodes come back to an empty stream" await 30 members_ready
forgets() { order 2 --wait fleet http://site.test/style.css; }
holds "and purges come to all of them" await 20 forgets
for at in 0 1 2 3; do unlike "node $at does not serve it any more" '; hit' "$(page $at /style.css)"; done
# The stream is deleted and made anew while all follow it, and purges go on without a pause: what the new one has before the number that
# the nodes had come to is not skipped.
for round in $(seq 20); do order 1 --tag "before-$round" >/dev/null; done
await 10 hits_everywhere /app.js || no "the page is stored everywhere" "$(for at in 0 1 2 3; do page $at /app.js; done)"
broker_says() { exec 8<>"/dev/tcp/127.0.0.1/$nats_port" && printf '%b' "$1" >&8 && sleep 0.2 && exec 8>&-; }
broker_says 'CONNECT {"verbose":false}\r\nPUB $JS.API.STREAM.DELETE.TIDEGATE 0\r\n\r\n'
order 0 http://site.test/app.js >/dev/null
for round in $(seq 60); do order $((round % 4)) --tag "after-$round" >/dev/null; done
again_everywhere() { order 0 --wait fleet --tag last; }
holds "a stream that was made anew is followed by all" await 20 again_everywhere
for at in 0 1 2 3; do unlike "node $at does not serve what was purged while it was made anew" '; hit' "$(page $at /app.js)"; done
for at in 0 1 2 3; do end "${fleet_pids[$at]}"; done
end "$broker"
