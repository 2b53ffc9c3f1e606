# A browser: the demo's front page through the node, and the dashboard. Needs the case `demo` before it.

# browse NAME URL OPTION…: a fresh Chromium without head, window or errands of its own.
browse() {
  local name=$1 url=$2
  shift 2
  timeout 90 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --user-data-dir="$work/profile.$name" \
    --window-size=1200,1400 "$@" "$url" 2>"$work/$name.err"
}

for view in "front $demo/" "article $demo/harbour/the-gate-holds" "live $demo/live" "dashboard http://127.0.0.1:$demo_admin/"; do
  read -r name url <<<"$view"
  browse "$name" "$url" --virtual-time-budget=4000 --screenshot="$work/$name.png" >/dev/null
  holds "$name: a browser draws it ($work/$name.png)" test "$(head -c 4 "$work/$name.png" | tail -c 3)" = PNG
  browse "$name-dom" "$url" --virtual-time-budget=4000 --dump-dom >"$work/$name.html"
done
like "the front page has its title" '<title>The Harbour Post' "$(cat "$work/front.html")"
like "and its stories" '<h[23]>.*The gate holds' "$(tr '\n' ' ' <"$work/front.html")"
like "the dashboard has its name" '<h1>Tidegate</h1>' "$(cat "$work/dashboard.html")"
like "its script filled in the hit ratio" 'id="hit-ratio"[^>]*>[0-9.]+ ?%' "$(cat "$work/dashboard.html")"
like "and the pools" "127\.0\.0\.1:[0-9]+" "$(cat "$work/dashboard.html")"
unlike "nothing on these pages broke in the console" 'Uncaught|Refused to' "$(cat "$work"/*.err)"
rm -rf "$work"/profile.*
kill -TERM "$demo_pid"
ended "$demo_pid" 20
same "the demo ends when told" 0 "$code"
