# The stage of the real-dependency tests: claims, waiting, processes, ports, requests. Sourced by `run`.
#
# Nothing here sleeps to let something happen: `await` polls a condition, bounded. Every process that a test starts is
# remembered and ended by its id when the script ends, whatever ends it.

passed=0
failed=0
started=()

# --- claims -------------------------------------------------------------------------------------------------------

# holds CLAIM COMMAND…: the claim is true if the command succeeds; its output is shown if not.
holds() {
  local claim=$1
  shift
  if "$@" >"$work/last" 2>&1; then yes "$claim"; else no "$claim" "'$*' failed: $(tail -n 20 "$work/last")"; fi
}

# same CLAIM EXPECTED ACTUAL
same() { if [ "$2" = "$3" ]; then yes "$1"; else no "$1" "expected '$2', got '$3'"; fi; }

# like CLAIM PATTERN ACTUAL: an extended regular expression, in any case, somewhere in it.
like() { if grep -qiE -- "$2" <<<"$3"; then yes "$1"; else no "$1" "'$2' is not in: $3"; fi; }

# unlike CLAIM PATTERN ACTUAL
unlike() { if grep -qiE -- "$2" <<<"$3"; then no "$1" "'$2' is in: $3"; else yes "$1"; fi; }

yes() { passed=$((passed + 1)) && echo "ok      $1"; }
no() {
  failed=$((failed + 1))
  echo "FAILED  $1"
  sed 's/^/        /' <<<"$2"
}

# --- waiting ------------------------------------------------------------------------------------------------------

# await SECONDS COMMAND…: tries until it succeeds; fails when the time is over.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.05
  done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
silent() { ! listens "$1"; }
gone() { ! kill -0 "$1" 2>/dev/null; }

# --- processes ----------------------------------------------------------------------------------------------------

# spawn LOG COMMAND…: starts it in the background; its id is in $pid.
spawn() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  started+=("$pid")
}

# ended PID SECONDS: waits for one of ours to end; its exit code is in $code, or `late`.
ended() {
  code=late
  if await "$2" gone "$1"; then
    code=0
    wait "$1" || code=$?
  fi
}

# end PID: ends one of ours now.
end() {
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

end_all() {
  local pid
  for pid in "${started[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do await 3 gone "$pid" || true; done
  for pid in "${started[@]}"; do end "$pid"; done
}

# --- ports --------------------------------------------------------------------------------------------------------

# free_port NAME: a port nobody listens on, outside of the range the kernel gives to clients.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    if [[ " ${ports[*]-} " != *" $port "* ]] && ! listens $port; then break; fi
  done
  ports+=("$port")
  printf -v "$1" %s "$port"
}
ports=()

# --- requests -----------------------------------------------------------------------------------------------------

# ask PATH [CURL OPTION…]: asks the node over TLS as site.test; the body is in $work/body, the head in $head, and what
# curl says about it in $told: status and protocol. A first argument that is no path is asked as it stands.
ask() {
  local url=$1
  shift
  : >"$work/body"
  case $url in /*) url="https://site.test:$edge_port$url" ;; esac
  told=$(curl -sS -m 20 --noproxy '*' --cacert "$work/ca.pem" --resolve "*:$edge_port:127.0.0.1" -o "$work/body" -D "$work/head" \
    -w '%{http_code} %{http_version}' "$@" "$url" 2>"$work/curl") || told="$told curl: $(cat "$work/curl")"
  head=$(tr -d '\r' <"$work/head")
  return 0
}

# field NAME: its value in the last answer.
field() { sed -n "s/^$1: *//Ip" <<<"$head" | tail -n 1; }

# digest FILE
digest() { sha256sum <"$1" | cut -d' ' -f1; }

# asked PATH: how often the origin was asked for it.
asked() { grep -c -F " $1 " "$work/origin.log" || true; }
