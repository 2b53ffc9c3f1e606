# Signals, and a port that is taken.

told=$("$tidegate" run --config "$work/tidegate.toml" 2>&1)
same "a second node on the same ports fails" 1 $?
like "and names the port" "port $edge_port is in use" "$told"
ask /index.html
same "the first one does not notice" "200 2" "$told"

# download CURL OPTION…: begins to fetch the 20 MB over one connection; its id is in $download.
download() {
  rm -f "$work/download.body"
  spawn "$work/download.out" curl -sS -m 120 --cacert "$work/ca.pem" --resolve "*:$edge_port:127.0.0.1" \
    -o "$work/download.body" "$@" "https://site.test:$edge_port/big.bin"
  download=$pid
  await 10 test -s "$work/download.body"
}

for protocol in http1.1 http2; do
  download --$protocol --limit-rate 8M
  kill -TERM "$node_pid"
  holds "$protocol: after TERM no new connection is accepted" await 10 silent "$edge_port"
  holds "$protocol: while the download runs on" kill -0 "$download"
  ended "$download" 60
  same "$protocol: and ends whole" "0 $(digest "$work/site/big.bin")" "$code $(digest "$work/download.body")"
  ended "$node_pid" 20
  same "$protocol: then the node ends well" 0 "$code"
  start_node
done

download --limit-rate 1M
kill -TERM "$node_pid"
await 10 silent "$edge_port"
# Wrappers send a signal twice within a moment, which the node takes for one: a person's second TERM comes later.
ends_hurried() { kill -TERM "$node_pid" 2>/dev/null; gone "$node_pid"; }
holds "a second TERM ends the node at once" await 10 ends_hurried
ended "$node_pid" 1
same "and well" 0 "$code"
ended "$download" 60
like "and the download knows that it was cut" '^[1-9]' "$code"

start_node
holds "stop is accepted" "$tidegate" stop
ended "$node_pid" 20
same "and ends the node" 0 "$code"
start_node
