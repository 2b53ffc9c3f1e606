# Traces: a request's context goes on to the origin, and its span to an OpenTelemetry receiver, which checks what it gets.
free_port trace_port && free_port trace_admin && free_port receiver_port && free_port traced_port
spans=$work/spans
rm -f "$spans" "$spans.busy" "$spans.refused"
spawn "$work/receiver.out" node "$root/tests/real/receiver.mjs" "$receiver_port" "$spans"
receiver=$pid
# An origin that tells which context it was given.
cat >"$work/traced.mjs" <<JS
import { createServer } from "node:http";
createServer((request, response) => {
  response.writeHead(request.url === "/fails" ? 500 : 200, { "Cache-Control": "max-age=600" });
  response.end(request.headers.traceparent ?? "none");
}).listen($traced_port, "127.0.0.1");
JS
spawn "$work/traced.out" node "$work/traced.mjs"
traced=$pid
cat >"$work/tracing.toml" <<TOML
node = "traced"
[[listener]]
address = "127.0.0.1:$trace_port"
[admin]
address = "127.0.0.1:$trace_admin"
[log]
access = "off"
[trace]
on = true
export = "http://127.0.0.1:$receiver_port"
[pool.main]
origins = ["http://127.0.0.1:$traced_port"]
[[site]]
hosts = ["*"]
TOML
{ await 20 listens "$receiver_port" && await 20 listens "$traced_port"; } || no "a receiver starts" "$(cat "$work/receiver.out" "$work/traced.out")"
spawn "$work/tracing.out" "$tidegate" run --config "$work/tracing.toml"
tracing=$pid
{ await 20 listens "$trace_port" && await 20 listens "$trace_admin"; } || no "a node starts that sends spans" "$(cat "$work/tracing.out")"

trace=0af7651916cd43dd8448eb211c80319c
ask "http://127.0.0.1:$trace_port/page?a=b" -H "traceparent: 00-$trace-b7ad6b7169203331-01"
like "the origin is told the trace, under a span of the node's" "^00-$trace-[0-9a-f]{16}-01" "$(cat "$work/body")"
own=$(cut -d- -f3 "$work/body")
unlike "which is not the client's" '^b7ad6b7169203331$' "$own"
ask "http://127.0.0.1:$trace_port/page?a=b" -H "traceparent: 00-$trace-b7ad6b7169203331-01"
ask "http://127.0.0.1:$trace_port/fails" -H "traceparent: 00-$trace-b7ad6b7169203331-01"
# A client that does not want its trace recorded.
ask "http://127.0.0.1:$trace_port/unseen" -H "traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
spanned() { [ "$(grep -c "$trace" "$spans")" = 3 ]; }
holds "the receiver gets a span a request" await 30 spanned
told() { node -e 'for (const line of require("fs").readFileSync(process.argv[1], "utf8").trim().split("\n")) { const { wrong, name, kind, traceId, spanId, parentSpanId, status, attributes: a } = JSON.parse(line); console.log(wrong ?? [name, kind, traceId, parentSpanId, status?.code ?? 0, a["url.path"], a["url.query"] ?? "-", a["http.response.status_code"], a["tidegate.cache"], spanId].join(" ")) }' "$spans" | sort; }
like "a miss, with who caused it" "^GET 2 $trace b7ad6b7169203331 0 /page a=b 200 miss $own\$" "$(told)"
like "a hit" "^GET 2 $trace b7ad6b7169203331 0 /page a=b 200 hit [0-9a-f]{16}\$" "$(told)"
like "and an error as one" "^GET 2 $trace b7ad6b7169203331 2 /fails - 500 (miss|pass) [0-9a-f]{16}\$" "$(told)"
same "and nothing else, in the protocol's own shape" 3 "$(wc -l <"$spans")"

# A receiver that refuses costs spans, which are counted, and no request.
touch "$spans.busy"
ask "http://127.0.0.1:$trace_port/page?a=b" -H "traceparent: 00-$trace-b7ad6b7169203331-01"
lost() { curl -sS "http://127.0.0.1:$trace_admin/metrics" | grep -q '^tidegate_trace_dropped_spans_total [1-9]'; }
holds "what a receiver refuses is counted" await 30 lost
end "$receiver"
ask "http://127.0.0.1:$trace_port/page?a=b"
like "one that is gone costs no request" '^cache-status:.*hit' "$head"
kill -TERM "$tracing"
ended "$tracing" 60
same "and does not hold up the end" 0 "$code"
kill "$traced" 2>/dev/null
