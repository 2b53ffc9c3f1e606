# WebSocket over HTTP/2 from a browser, and a text in two parts that is encoded as it goes: to the same browser.
chat=$work/chat
mkdir -p "$chat"
free_port chat_port && free_port chat_tls && free_port chat_admin
spawn "$chat/origin.out" node "$here/chat.mjs" "$chat_port"
await 20 listens "$chat_port" || no "the origin of WebSocket starts" "$(cat "$chat/origin.out")"
cat >"$chat/tidegate.toml" <<TOML
[[listener]]
address = "127.0.0.1:$chat_tls"
tls = [ { cert = "../edge.pem", key = "../edge.key" } ]

[admin]
address = "127.0.0.1:$chat_admin"

[log]
access = "access.log"

[pool.chat]
origins = ["http://127.0.0.1:$chat_port"]

[[site]]
hosts = ["site.test"]
pool = "chat"
encode = "on"
TOML
spawn "$chat/node.out" "$tidegate" run --config "$chat/tidegate.toml"
chat_node=$pid
await 20 listens "$chat_tls" || no "its node starts" "$(cat "$chat/node.out")"

cat >"$chat/steps.json" <<JSON
[
  { "open": "https://site.test:$chat_tls/" },
  { "do": "window.heard = []; window.socket = new WebSocket('wss://site.test:$chat_tls/chat'); socket.onmessage = (e) => heard.push(e.data); socket.onerror = () => heard.push('ERROR'); socket.onclose = (e) => heard.push('closed ' + e.wasClean); socket.onopen = () => { for (let n = 0; n < 50; n += 1) socket.send('word ' + n); socket.send('x'.repeat(60000)); }" },
  { "until": "heard.length >= 51" },
  { "say": "words", "js": "heard.slice(0, 2).join() + ' ' + heard[49]" },
  { "say": "long", "js": "heard[50] === 'X'.repeat(60000)" },
  { "do": "socket.close(1000)" },
  { "until": "heard.length >= 52" },
  { "say": "end", "js": "heard[51]" },
  { "say": "drip", "js": "(async () => { const told = []; const answer = await fetch('/drip', { credentials: 'omit' }); const reader = answer.body.getReader(); const text = new TextDecoder(); let all = ''; while (all.length < 600) all += text.decode((await reader.read()).value); told.push(all.length, answer.headers.get('content-encoding')); await fetch('/go'); for (let part = await reader.read(); !part.done; part = await reader.read()) all += text.decode(part.value); told.push(all === 'first '.repeat(100) + 'last '.repeat(100)); return told.join(); })()" }
]
JSON
seen=$(BROWSE_FLAGS="--ignore-certificate-errors --host-resolver-rules=MAP\\tsite.test\\t127.0.0.1" timeout 120 node "$here/browse.mjs" "$chat/profile" "$chat/steps.json" 2>&1)
like "a browser's words come back" '"words":"WORD 0,WORD 1 WORD 49"' "$seen"
like "and one of many frames" '"long":true' "$seen"
like "it closes as WebSocket does" '"end":"closed true"' "$seen"
like "what came before an origin pauses is read, and decoded, before it goes on" '"drip":"600,(br|zstd|gzip),true"' "$seen"
await 10 grep -q '"reason":"upgrade"' "$chat/access.log"
like "it was a stream of HTTP/2" '"path":"/chat","protocol":"HTTP/2","status":200' "$(grep '"reason":"upgrade"' "$chat/access.log")"
same "no tunnel is left" 'tidegate_tunnels 0' "$(curl -s "127.0.0.1:$chat_admin/metrics" | grep '^tidegate_tunnels ')"
rm -rf "$chat/profile"
kill -TERM "$chat_node"
ended "$chat_node" 20
same "its node ends when told" 0 "$code"
