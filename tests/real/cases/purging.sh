# Purges, and what the commands tell.

url=https://site.test:$edge_port/style.css
ask /style.css && ask /style.css
like "before the purge it is a hit" '^cache-status: real; hit' "$head"
explained=$("$tidegate" explain "$url")
like "explain says so, and why" 'decision +hit.*fresh +yes' "$(tr '\n' ' ' <<<"$explained")"
before=$(asked /style.css)
like "a dry run counts and changes nothing" '^would forget [1-9]' "$("$tidegate" purge --dry-run "$url")"
receipt=$("$tidegate" purge "$url")
like "the receipt tells what was forgotten" 'forgot [1-9][0-9]* stored responses? under 1 URL; purge [0-9]+' "$receipt"
like "and which node applied it" '^  real +applied' "$receipt"
like "explain says that nothing is stored" 'stored +nothing' "$("$tidegate" explain "$url")"
same "neither explain nor the purge asked the origin" "$before" "$(asked /style.css)"
ask /style.css
like "the next request is a miss" '^cache-status: real; fwd=uri-miss' "$head"
ask /style.css -H 'Accept-Encoding: gzip'
like "its variants are gone as well" '^cache-status: real; fwd=' "$head"
ask /app.js
like "another URL is not" '^cache-status: real; hit' "$head"

ask /picture.png
holds "a soft purge is accepted" "$tidegate" purge --soft "https://site.test:$edge_port/picture.png"
ask /picture.png
same "what it made stale is asked for again, with its validator" "200 2 304" "$told $(sed -n 's/.*fwd-status=\([0-9]*\).*/\1/p' <<<"$head")"
ask /picture.png
like "and is fresh again" '^cache-status: real; hit' "$head"

ask /app.js -X PURGE --http1.1
same "the PURGE method is accepted from an address that may" "200 1.1" "$told"
like "its receipt counts" '"matched": ?[1-9]' "$(cat "$work/body")"
ask /app.js
like "after it comes a miss" '^cache-status: real; fwd=uri-miss' "$head"
ask /app.js -X PURGE --interface 127.0.0.2
same "it is refused to others" "403 2" "$told"
ask /app.js
like "and then purges nothing" '^cache-status: real; hit' "$head"
like "the call purges as well" '"matched": ?1' "$(curl -sS "http://127.0.0.1:$admin_port/v1/purge" \
  -H 'Content-Type: application/json' -d "{\"urls\": [\"https://site.test:$edge_port/app.js\"]}")"

stat=$("$tidegate" stat)
like "stat counts hits and purges" 'outcomes .*hit [1-9].*purges +[1-9]' "$(tr '\n' ' ' <<<"$stat")"
like "stat names the origin" "origin +site https://127.0.0.1:$origin_port up" "$stat"
holds "stat --json is JSON" node -e 'JSON.parse(process.argv[1]).requests > 0 || process.exit(1)' "$("$tidegate" stat --json)"
holds "metrics are there to scrape" grep -q '^tidegate_requests_total{' <(curl -sS "http://127.0.0.1:$admin_port/metrics")
await 5 grep -q '"path":"/style.css"' "$work/access.log"
holds "every line of the access log is JSON" node -e \
  'require("fs").readFileSync(process.argv[1], "utf8").trim().split("\n").forEach(line => JSON.parse(line))' "$work/access.log"

sed 's/hosts = /host = /' "$work/tidegate.toml" >"$work/wrong.toml"
told=$("$tidegate" check "$work/wrong.toml" 2>&1)
same "check refuses a misspelt key" 2 $?
like "with its place and what was meant" 'wrong\.toml:[0-9]+:[0-9]+.*did you mean `hosts`' "$(tr '\n' ' ' <<<"$told")"
"$tidegate" run --config "$work/wrong.toml" >"$work/wrong.out" 2>&1
same "a node does not start on it" 2 $?
