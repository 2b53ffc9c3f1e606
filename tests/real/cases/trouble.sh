# The node and its origin when hurt.

ask /dead/page -H 'Accept: text/html'
same "an origin that was never there is a 502" "502 2" "$told"
like "with a page for people" '<title>502 ' "$(cat "$work/body")"
like "that tells the cache's part" '^cache-status: real; .*detail=' "$head"
ask /dead/page -H 'Accept: application/json'
like "and a problem document for programs" '^content-type: application/problem\+json' "$head"
ask /stranger/page
same "an origin whose certificate nobody vouches for is a 502" "502 2" "$told"
same "and is sent nothing" 0 "$(asked /stranger/page)"

ask /brief/page.html && ask /strict/page.html
stop_nginx
await 5 silent "$origin_port"
brief_is_stale() { ask /brief/page.html && grep -qE '^cache-status: real;.*ttl=-' <<<"$head"; }
holds "what may be stale if an error happens is served stale while the origin is gone" await 10 brief_is_stale
same "as it was" "200 2 <title>brief</title>" "$told $(cat "$work/body")"
strict_is_refused() { ask /strict/page.html && grep -qE '^50[24] ' <<<"$told"; }
holds "what must be validated is not" await 10 strict_is_refused
ask /picture.png
like "what is fresh is served as ever" '^cache-status: real; hit' "$head"
start_nginx
brief_is_fresh() { ask /brief/page.html && grep -qE '^cache-status: real; (hit; ttl=[0-9]|fwd=stale; fwd-status=(200|304))' <<<"$head"; }
holds "the origin is used again when it is back" await 20 brief_is_fresh

spawn "$work/slow.out" curl -sS -m 120 --limit-rate 1k --cacert "$work/ca.pem" --resolve "*:$edge_port:127.0.0.1" \
  -o "$work/slow.body" "https://site.test:$edge_port/big.bin"
slow=$pid
await 10 test -s "$work/slow.body"
for file in big film; do
  ask /$file.bin -m 15
  same "a client that hardly reads holds nobody else, $file.bin" "200 2 $(digest "$work/site/$file.bin")" "$told $(digest "$work/body")"
done
holds "and is served on" kill -0 "$slow"
end "$slow"

ask /index.html && ask /index.html
end "$node_pid"
await 5 silent "$edge_port"
start_node
ask /index.html
same "after kill -9 the node starts on the same ports and serves" "200 2 $(digest "$work/site/index.html")" "$told $(digest "$work/body")"
like "with an empty cache" '^cache-status: real; fwd=uri-miss' "$head"
