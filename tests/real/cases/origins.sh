# Three origins, one of which fails in each way that origins do, while readers ask for pages that nobody has. At most one
# request in a thousand of the first three seconds fails, none after; origins are asked for at most a tenth more than
# readers ask; what may be served stale if an error happens is, all of it.
#
# ORIGINS_SECONDS each way lasts (5), ORIGINS_RATE requests a second (400).

weather=$work/weather
mkdir -p "$weather"
weather_seconds=${ORIGINS_SECONDS:-5} weather_rate=${ORIGINS_RATE:-400}
free_port weather_port && free_port weather_admin
weather_ports=() weather_pids=()
for at in 0 1 2; do
  free_port weather_origin
  weather_ports+=("$weather_origin")
done

start_weather() {
  spawn "$weather/origin-$1.out" node "$here/weather.mjs" origin "${weather_ports[$1]}" "$weather/counts"
  weather_pids[$1]=$pid
  await 20 listens "${weather_ports[$1]}"
}
mode() { curl -sS -m 5 "http://127.0.0.1:${weather_ports[2]}/-/$1" >/dev/null; }
figure() { grep -oE "\"$1\":[0-9]+" <<<"$2" | cut -d: -f2; }
origins_asked() { stat -c %s "$weather/counts"; }

: >"$weather/counts"
for at in 0 1 2; do start_weather $at; done
cat >"$weather/tidegate.toml" <<TOML
node = "weather"
[[listener]]
address = "127.0.0.1:$weather_port"
[admin]
address = "127.0.0.1:$weather_admin"
[log]
access = "off"
[pool.main]
origins = ["http://127.0.0.1:${weather_ports[0]}", "http://127.0.0.1:${weather_ports[1]}", "http://127.0.0.1:${weather_ports[2]}"]
eject_for = "2s"
fail_status = ["500-504"]
[[site]]
hosts = ["weather.test"]
pool = "main"
TOML
spawn "$weather/node.out" "$tidegate" run --config "$weather/tidegate.toml"
weather_node=$pid
holds "a node before three origins starts" await 20 listens "$weather_port"

# weather NAME BEFORE AFTER: load for a second while all is well, the trouble, load meanwhile, the end of the trouble.
weather() {
  local name=$1 before after said asked errors early late misses
  node "$here/weather.mjs" load "$weather_port" 1 "$weather_rate" "/$name-before-" >/dev/null
  before=$(origins_asked)
  eval "$2"
  said=$(node "$here/weather.mjs" load "$weather_port" "$weather_seconds" "$weather_rate" "/$name-")
  eval "$3"
  # What a stopped origin was sent is counted when it goes on.
  settled() { local count; count=$(origins_asked); sleep 0.2; [ "$count" = "$(origins_asked)" ]; }
  await 10 settled
  after=$(origins_asked)
  asked=$((after - before))
  errors=$(figure errors "$said") early=$(figure early "$said") late=$(figure late "$said") misses=$(figure misses "$said")
  echo "        $name: $said, origins were asked $asked times"
  holds "$name: at most one in a thousand fails in the first three seconds ($early)" test $((early * 1000)) -le $((weather_rate * 3))
  same "$name: none after" 0 "$late"
  # A hundred may have been saved up while all was well (`ORIGIN_RETRY_BURST`).
  holds "$name: origins are asked at most a tenth more ($asked for $misses)" test $((asked * 10)) -le $((misses * 11 + 1000))
  all_asked=$((all_asked + asked)) all_misses=$((all_misses + misses))
  holds "$name: and it is used again" await 60 back
}
# Whether all three are well, so that the next trouble begins with three; an origin that was out is tried by a request.
back() {
  curl -s -m 5 -o /dev/null -H 'Host: weather.test' "http://127.0.0.1:$weather_port/back-$RANDOM$RANDOM-[1-8]"
  [ "$(curl -s -m 5 "http://127.0.0.1:$weather_admin/v1/pools" | grep -oE '"state": ?"healthy"' | wc -l)" = 3 ]
}
all_asked=0 all_misses=0

weather killed 'end "${weather_pids[2]}"' 'start_weather 2'
weather black-holed 'kill -STOP "${weather_pids[2]}"' 'kill -CONT "${weather_pids[2]}"'
for trouble in slow resetting lying failing flapping; do
  weather $trouble "mode $trouble" 'mode well'
done

holds "in all of it origins are asked at most a tenth more ($all_asked for $all_misses)" test $((all_asked * 10)) -le $((all_misses * 11))

said=$(node "$here/weather.mjs" ask "$weather_port" 500 /brief-)
same "five hundred pages are stored" 0 "$(figure errors "$said")"
for at in 0 1 2; do end "${weather_pids[$at]}"; done
gone_stale() { [ "$(curl -s -o /dev/null -D - -H 'Host: weather.test' "http://127.0.0.1:$weather_port/brief-500" | grep -ciE 'ttl=-')" = 1 ]; }
holds "they become stale" await 10 gone_stale
said=$(node "$here/weather.mjs" ask "$weather_port" 500 /brief-)
echo "        no origin left: $said"
same "without any origin all of them are served stale, and none fails" "0 500" "$(figure errors "$said") $(figure stale "$said")"
kill -TERM "$weather_node"
ended "$weather_node" 20
same "the node ends well" 0 "$code"
