# Settings that change under load, in both directions, with files full of mistakes in between: nobody notices.
#
# TIDEGATE_RELOADS: how many reloads (40); TIDEGATE_RELOAD_REQUESTS: how many requests meanwhile (60000).

reloads=${TIDEGATE_RELOADS:-40}
requests=${TIDEGATE_RELOAD_REQUESTS:-60000}
need h2load nghttp2-client || exit 1
cp "$work/tidegate.toml" "$work/settings.before"

ask /index.html
printf 'https://site.test/%s\n' index.html style.css app.js private/page.html strict/page.html >"$work/urls"
spawn "$work/load.out" h2load -n "$requests" -c 8 -m 4 -i "$work/urls" --connect-to="127.0.0.1:$edge_port"
load=$pid
reload() { "$tidegate" reload --admin "127.0.0.1:$admin_port" >"$work/reload.out" 2>&1; }
refused=0 taken=0 late=0
for ((at = 0; at < reloads; at++)); do
  case $((at % 4)) in
    # Another route, another pool for the same origin, both gone again, and what is no setting at all.
    0) sed -e 's|^pool = "site"|pool = "site"\nx_cache = true|' "$work/settings.before" >"$work/tidegate.toml" ;;
    1) sed -e 's|^eject_after = 1000|eject_after = 1001|' "$work/settings.before" >"$work/tidegate.toml" ;;
    2) { cat "$work/settings.before"; printf '[[site.route]]\npath = "/other/%s/*"\ncach = "off"\n' "$at"; } >"$work/tidegate.toml" ;;
    3) cp "$work/settings.before" "$work/tidegate.toml" ;;
  esac
  if reload; then taken=$((taken + 1)); else refused=$((refused + 1)); fi
  kill -0 "$load" 2>/dev/null || late=$((late + 1))
done
cp "$work/settings.before" "$work/tidegate.toml"
same "a file with a mistake is refused, and no other" "$((reloads - reloads / 4)) $((reloads / 4))" "$taken $refused"
echo "        $reloads reloads, $late of them after the load had ended"
ended "$load" 600
same "the load ends" 0 "$code"
like "no request failed" "$requests succeeded, 0 failed, 0 errored, 0 timeout" "$(cat "$work/load.out")"
like "and none was answered with an error" "status codes: $requests 2xx, 0 3xx, 0 4xx, 0 5xx" "$(cat "$work/load.out")"
holds "the node is the same process" kill -0 "$node_pid"
like "what is stored is still a hit" '^cache-status:.*hit' "$(ask /index.html; echo "$head")"
