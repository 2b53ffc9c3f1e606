# What clients get: bodies, protocols, variants, parts, conditions.

holds "the settings pass the check" "$tidegate" check "$work/tidegate.toml"

ask /index.html --http1.1
same "a page comes over TLS and HTTP/1.1" "200 1.1" "$told"
same "it is the origin's page, byte for byte" "$(digest "$work/site/index.html")" "$(digest "$work/body")"
like "a first request is a miss that is stored" '^cache-status: real; fwd=uri-miss; fwd-status=200; stored' "$head"
like "the answer names the node in Via" '^via: .*real' "$head"
ask /index.html --http2
same "it comes over HTTP/2" "200 2" "$told"
like "the second request is a hit, whatever the protocol" '^cache-status: real; hit; ttl=(600|59[0-9])' "$head"
like "a hit has an age" '^age: [0-9]' "$head"
like "the origin sees its own name in the handshake and the client's host" ' site\.test.*origin\.test$' "$(head -n 1 "$work/origin.log")"
like "the origin sees the client's address and the node" '"127\.0\.0\.1" "1\.1 real"' "$(head -n 1 "$work/origin.log")"

for file in style.css app.js picture.png film.bin; do
  for turn in 'uri-miss' 'hit'; do
    ask "/$file" --http2
    same "$file ($turn) is the origin's, byte for byte" "200 2 $(digest "$work/site/$file")" "$told $(digest "$work/body")"
    like "$file is told as $turn" "^cache-status: real; (fwd=)?$turn" "$head"
  done
done
like "types are the origin's" '^content-type: application/octet-stream' "$head"
same "nobody asked the origin twice" "1 1 1 1" "$(asked /style.css) $(asked /app.js) $(asked /picture.png) $(asked /film.bin)"

ask /big.bin
same "70 MB are served, byte for byte" "200 2 $(digest "$work/site/big.bin")" "$told $(digest "$work/body")"
like "and let through: a response may take a quarter of the memory, here 64 MiB" 'detail=too-large' "$head"

ask /style.css -H 'Accept-Encoding: gzip'
like "a client that takes gzip gets gzip" '^content-encoding: gzip' "$head"
same "it is the same file inside" "$(digest "$work/site/style.css")" "$(gzip -dc "$work/body" | sha256sum | cut -d' ' -f1)"
ask /style.css -H 'Accept-Encoding: gzip'
like "the variant is a hit of its own" '^cache-status: real; hit' "$head"
like "which is still gzip" '^content-encoding: gzip' "$head"
ask /style.css
unlike "a client that does not take gzip gets none" '^content-encoding' "$head"
like "from the cache as well" '^cache-status: real; hit' "$head"
ask /app.js?late -H 'Accept-Encoding: gzip' && ask /app.js?late
unlike "nor does it where the gzip variant was stored first, whose tag nginx confirms to anyone" '^content-encoding' "$head"
same "and can read what it gets" "200 2 $(digest "$work/site/app.js")" "$told $(digest "$work/body")"

ask /picture.png -I -w '%{http_code} %{http_version} %{size_download}'
same "HEAD is answered with the length and no body" "200 2 0 $(wc -c <"$work/site/picture.png")" "$told $(field content-length)"
like "HEAD is a hit" '^cache-status: real; hit' "$head"

ask /film.bin -r 1000-1999
same "a part is answered as one" "206 2 bytes 1000-1999/4000000" "$told $(field content-range)"
same "with the right bytes" "$(tail -c +1001 "$work/site/film.bin" | head -c 1000 | sha256sum)" "$(sha256sum <"$work/body")"
like "from the cache" '^cache-status: real; hit' "$head"
ask /film.bin -r -500 --http1.1
same "the last bytes can be asked for" "206 1.1 $(tail -c 500 "$work/site/film.bin" | sha256sum)" "$told $(sha256sum <"$work/body")"
ask /film.bin -r 30000000-
same "a part beyond the end is refused with the length" "416 2 bytes */4000000" "$told $(field content-range)"

ask /picture.png
tag=$(field etag) since=$(field last-modified)
like "the origin's validators arrive" '^"[0-9a-f-]+" Thu, 01 Jan 2026' "$tag $since"
ask /picture.png -H "If-None-Match: $tag"
same "a matching entity tag is answered 304 without a body" "304 2 0" "$told $(wc -c <"$work/body")"
ask /picture.png -H "If-Modified-Since: $since"
same "so is a date" "304 2" "$told"
ask /picture.png -H 'If-None-Match: "another"' -H "If-Modified-Since: $since"
same "another entity tag is not, whatever the date" "200 2" "$told"

ask /private/page.html && ask /private/page.html
unlike "what is private is never a hit" '^cache-status:.*(hit|stored)' "$head"
same "and is asked of the origin each time" 2 "$(asked /private/page.html)"

# One connection each, all at once, for something that nobody asked for before.
rush=()
for at in $(seq 20); do
  curl -sS -m 60 --cacert "$work/ca.pem" --resolve "*:$edge_port:127.0.0.1" -o "$work/rush.$at" \
    "https://site.test:$edge_port/film.bin?rush" &
  rush+=($!)
done
complete=0
for one in "${rush[@]}"; do wait "$one" && complete=$((complete + 1)); done
same "twenty clients at once all get 4 MB" 20 "$complete"
same "the same 4 MB" "$(digest "$work/site/film.bin")" "$(cat "$work"/rush.* | split -b 4000000 --filter='sha256sum' - | sort -u | cut -d' ' -f1)"
same "from one fetch" 1 "$(asked '/film.bin?rush')"
rm -f "$work"/rush.*

ask /early/page --http1.1
like "early hints reach an HTTP/1.1 client before the page" 'HTTP/1.1 103.*rel=preload.*HTTP/1.1 200' "$(tr '\n' ' ' <<<"$head")"
ask /early/page --http1.1
same "the page behind them is stored" "200 1.1 hit" "$told $(grep -o 'hit' <<<"$head" | head -n 1)"

ask "http://site.test:$plain_port/style.css" --resolve "*:$plain_port:127.0.0.1"
same "the listener without TLS serves too" "200 1.1 $(digest "$work/site/style.css")" "$told $(digest "$work/body")"
ask "https://elsewhere.test:$edge_port/" -k
like "a host that no site has is refused" '^(404|421) ' "$told"
same "curl trusts the certificate, and only with the authority" "60" "$(curl -s -o /dev/null --resolve "*:$edge_port:127.0.0.1" "https://site.test:$edge_port/"; echo $?)"
