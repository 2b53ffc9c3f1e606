# Who watches: the dashboard in a browser, used as a person would, and `tidegate top` in a terminal. Pictures and screens stay in $work.

# Traffic while they look: pages, what was never there, an origin that is not there, an image.
cat >"$work/traffic.sh" <<SH
for _ in \$(seq 2000); do
  for path in /index.html /index.html /style.css /app.js /picture.png /dead/page /missing /index.html; do
    curl -s -m 5 -o /dev/null --noproxy '*' -H 'Host: site.test' "http://127.0.0.1:$plain_port\$path"
  done
done
SH
spawn "$work/traffic.out" bash "$work/traffic.sh"
traffic=$pid

# browse NAME: carries out the steps of $work/NAME.json; what they tell is in $said.
browse() {
  said=$(timeout 240 node "$here/browse.mjs" "$work/profile.$1" "$work/$1.json" 2>&1)
  rm -rf "$work/profile.$1"
}
at=http://127.0.0.1:$admin_port/
cat >"$work/used.json" <<JSON
[
  {"size": [1280, 900]}, {"scheme": "light"}, {"open": "$at"},
  {"until": "/serving|down/.test(document.getElementById('state').textContent)"},
  {"until": "parseFloat(document.getElementById('rate').textContent) > 0", "seconds": 60},
  {"until": "/index.html/.test(document.getElementById('most').textContent)", "seconds": 60},
  {"until": "document.querySelectorAll('#error-rows .pill.bad').length > 0", "seconds": 60},
  {"say": "hits", "js": "document.getElementById('hit-ratio').textContent"},
  {"say": "codes", "js": "document.getElementById('codes').textContent"},
  {"say": "error", "js": "document.getElementById('error-rows').textContent"},
  {"picture": "$work/watching-light.png"},
  {"scheme": "dark"}, {"picture": "$work/watching-dark.png"}, {"scheme": "light"},
  {"keys": ["Tab"]}, {"say": "first", "js": "document.activeElement.className"},
  {"do": "document.getElementById('explain-url').value = 'http://site.test/index.html'; document.getElementById('explain-url').focus()"},
  {"keys": ["Enter"]}, {"until": "document.querySelector('#explained .lead')"},
  {"say": "explained", "js": "document.getElementById('explained').textContent"},
  {"do": "document.querySelector('input[name=what][value=prefixes]').click(); document.getElementById('selected').value = 'http://site.test/'; document.getElementById('selected').dispatchEvent(new Event('input'))"},
  {"say": "before", "js": "document.getElementById('purge-now').disabled"},
  {"do": "document.getElementById('dry').click()"}, {"until": "document.querySelector('#purge-said .lead')"},
  {"say": "dry", "js": "document.querySelector('#purge-said .lead').textContent"},
  {"do": "document.getElementById('purge').scrollIntoView()"}, {"picture": "$work/watching-purge.png"},
  {"do": "document.getElementById('purge-now').click()"}, {"until": "/Done/.test(document.getElementById('purge-said').textContent)"},
  {"say": "purged", "js": "document.querySelector('#purge-said .lead').textContent"},
  {"do": "window.confirm = () => true; document.querySelector('[aria-label^=\"Drain\"]').click()"},
  {"until": "document.querySelector('[aria-label^=\"Resume\"]')"},
  {"say": "drained", "js": "document.querySelector('#pools .pill.warn').textContent"},
  {"do": "document.querySelector('[aria-label^=\"Resume\"]').click()"},
  {"until": "!document.querySelector('[aria-label^=\"Resume\"]')"},
  {"do": "document.getElementById('pause').click()"}, {"say": "paused", "js": "document.getElementById('state').textContent"},
  {"do": "document.getElementById('pause').click()"}, {"until": "document.getElementById('state').textContent != 'paused'"},
  {"size": [390, 844], "phone": true}, {"open": "$at"},
  {"until": "document.querySelectorAll('#pools .origin').length > 0"},
  {"say": "beside", "js": "document.documentElement.scrollWidth - innerWidth"},
  {"picture": "$work/watching-phone.png"},
  {"say": "elsewhere", "js": "performance.getEntriesByType('resource').filter((one) => !one.name.startsWith('$at')).length"},
  {"say": "nameless", "js": "[...document.querySelectorAll('button, input, textarea')].filter((one) => !one.textContent.trim() && !one.getAttribute('aria-label') && !(one.labels && one.labels.length)).length"}
]
JSON
browse used
unlike "the dashboard is used from end to end, and nothing breaks in it ($work/watching-*.png)" '"failed"|"console"' "$said"
like "it tells the hit ratio" '"hits":"[0-9.]+ %"' "$said"
like "and status codes" '"codes":"[^"]*200[^"]*502' "$said"
like "and errors with their reason" '"error":"[^"]*502[^"]*/dead/page[^"]*connect' "$said"
like "by keyboard one comes first to the way past the head" '"first":"skip"' "$said"
like "it explains" '"explained":"(A hit|It is)' "$said"
like "what was not looked at is not purged" '"before":true' "$said"
like "a purge is looked at first" '"dry":"This would take [0-9]+ response' "$said"
like "and then done" '"purged":"Done: purge no' "$said"
like "an origin is drained and resumed" '"drained":"drained"' "$said"
like "it can be held" '"paused":"paused"' "$said"
like "on a phone nothing lies beside the screen" '"beside":0' "$said"
like "nobody else is asked for anything" '"elsewhere":0' "$said"
like "everything that can be used has a name" '"nameless":0' "$said"

# With tokens: it asks for one, and the session keeps it.
free_port token_port && free_port token_admin
printf '[[token]]\nname = "eyes"\nsha256 = "%s"\nmay = ["read"]\n' "$(printf secret | sha256sum | cut -d' ' -f1)" >"$work/tokens.toml"
cat >"$work/tokens-node.toml" <<TOML
[[listener]]
address = "127.0.0.1:$token_port"
[admin]
address = "127.0.0.1:$token_admin"
tokens = "tokens.toml"
[log]
access = "off"
[pool.o]
origins = ["http://127.0.0.1:$early_port"]
[[site]]
hosts = ["*"]
pool = "o"
TOML
spawn "$work/tokens-node.out" "$tidegate" run --config "$work/tokens-node.toml"
token_node=$pid
holds "a node with tokens starts" await 20 listens "$token_admin"
cat >"$work/token.json" <<JSON
[
  {"open": "http://127.0.0.1:$token_admin/"}, {"until": "!document.getElementById('token-form').hidden"},
  {"say": "asks", "js": "document.getElementById('state').textContent"},
  {"do": "document.getElementById('token').value = 'secret'; document.querySelector('#token-form button').click()"},
  {"until": "document.getElementById('state').textContent == 'serving'"},
  {"do": "window.before = true; location.reload()"},
  {"until": "!window.before && document.getElementById('state')?.textContent == 'serving'"},
  {"say": "kept", "js": "document.getElementById('token-form').hidden && !localStorage.getItem('token')"},
  {"do": "document.getElementById('selected').value = 'http://a/'; document.getElementById('dry').click()"},
  {"until": "document.querySelector('#purge-said .text-bad')"},
  {"say": "refused", "js": "document.getElementById('purge-said').textContent"}
]
JSON
browse token
unlike "the dashboard of a node with tokens works" '"failed"' "$said"
like "it asks for one" '"asks":"token needed"' "$said"
like "and the session keeps it" '"kept":true' "$said"
like "what it may not do is told" '"refused":"[^"]*not good for this call' "$said"

# In a terminal.
screens=tidegate-$$
screen() { tmux -L "$screens" capture-pane -p -t top; }
shows() { screen | grep -qE -- "$1"; }
keys() { tmux -L "$screens" send-keys -t top "$@"; }
tmux -L "$screens" -f /dev/null new-session -d -s top -x 120 -y 40 "exec bash --norc --noprofile"
keys "PS1='ready> '; $tidegate top --admin 127.0.0.1:$admin_port; echo ended \$?; stty -a | grep -o ' icanon'" Enter
holds "top draws the overview" await 30 shows '^Tidegate real'
holds "with rates" await 30 shows 'to origins'
holds "and what is asked for most" await 30 shows 'site.test.*/index.html'
holds "and pools" await 10 shows 'dead .*127.0.0.1'
screen >"$work/top-overview.txt"
keys 2
holds "a digit turns to another view" await 10 shows 'URLs by requests'
keys s
holds "s sorts" await 10 shows 'URLs by bytes'
screen >"$work/top-urls.txt"
keys 5 && await 10 shows 'Status codes' && screen >"$work/top-reasons.txt"
keys 6
holds "errors have a view" await 10 shows '502 .*/dead/page'
screen >"$work/top-errors.txt"
keys '?'
holds "? shows the keys" await 10 shows 'suspend, as elsewhere'
keys '?'
await 10 shows 'URL .*why'
keys p
holds "p holds" await 10 shows 'paused'
keys p 1
tmux -L "$screens" resize-window -t top -x 44 -y 12
holds "a small terminal has the first numbers" await 10 shows '^hits '
screen >"$work/top-small.txt"
tmux -L "$screens" resize-window -t top -x 120 -y 40
keys q
holds "q gives the terminal back" await 10 shows '^ended 0'
holds "as it was" await 10 shows '^ icanon'
keys "clear; $tidegate top --admin 127.0.0.1:$admin_port; echo over; stty -a | grep -o ' icanon'" Enter
await 20 shows '^Tidegate real'
kill -TERM "$(pgrep -P "$(tmux -L "$screens" display-message -p -t top '#{pane_pid}')")"
holds "a signal gives it back too" await 10 shows '^over'
holds "as it was then" await 10 shows '^ icanon'
keys "clear; TIDEGATE_TOKEN=secret $tidegate top --admin 127.0.0.1:$token_admin; echo ended \$?" Enter
holds "top uses a token" await 20 shows 'serving'
end "$token_node"
holds "and says when the node is gone" await 20 shows 'no node answers|has ended'
keys q
holds "and ends when told" await 10 shows '^ended 0'
keys "clear; $tidegate top --admin 127.0.0.1:$admin_port" Enter
await 20 shows '^Tidegate real'
watcher=$(pgrep -P "$(tmux -L "$screens" display-message -p -t top '#{pane_pid}')")
tmux -L "$screens" kill-server
left() { ! kill -0 "$watcher" 2>/dev/null; }
holds "and ends with its terminal" await 10 left
"$tidegate" top --admin 127.0.0.1:$admin_port >"$work/last" 2>&1 </dev/null
same "without a terminal it is told what to take" 2 $?
like "by name" 'stat --watch' "$(cat "$work/last")"
end "$traffic"
