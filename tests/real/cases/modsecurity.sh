# ModSecurity with the OWASP Core Rule Set, as Debian packages both: attacks are refused, and a site's own traffic is not.

need_file '/usr/lib/*/libmodsecurity.so.3' libmodsecurity3 && need_file '/usr/share/modsecurity-crs/rules/*.conf' modsecurity-crs || exit 1
cp "$work/tidegate.toml" "$work/settings.before"
mkdir -p "$work/site/guarded"
echo '<title>guarded</title>' >"$work/site/guarded/page.html"
touch -d '2026-01-01 00:00:00 UTC' "$work/site/guarded/page.html"

# guard MODE: a part of the site is looked into by the engine.
guard() {
  {
    cat "$work/settings.before"
    printf '[modsecurity]\n\n[[site.route]]\npath = "/guarded/*"\n'
    printf 'access = { inspect = { mode = "%s", engines = ["modsecurity"] } }\n' "$1"
  } >"$work/tidegate.toml"
  "$tidegate" reload --admin "127.0.0.1:$admin_port" >"$work/reload.out" 2>&1
}
looked() { curl -sS --noproxy '*' "http://127.0.0.1:$admin_port/metrics" | sed -n "s/^tidegate_inspections_total{engine=\"modsecurity\",verdict=\"$1\"} //p"; }

holds "the settings with the engine are taken" guard block
like "its rules are told" 'ModSecurity is loaded.*rules=[0-9]{3}' "$(cat "$work/node.out")"
ask /guarded/page.html
same "a page is answered" "200 2" "$told"
same "by its own bytes" "$(digest "$work/site/guarded/page.html")" "$(digest "$work/body")"
ask /guarded/page.html
like "and is a hit the second time" '; hit' "$(field cache-status)"
same "which nobody looks into" 1 "$(looked clean)"
attack() { # attack CLAIM PATH [CURL OPTION…]
  local claim=$1
  shift
  ask "$@"
  same "$claim" "403 2" "$told"
  like "and says by what" 'detail=modsecurity' "$(field cache-status)"
}
attack "SQL in a query is refused" "/guarded/page.html?id=1%27%20OR%20%271%27%3D%271"
attack "markup in a query is refused" "/guarded/page.html?q=%3Cscript%3Ealert(1)%3C/script%3E"
attack "a file of the system in a query is refused" "/guarded/page.html?file=../../../../etc/passwd"
attack "a scanner is refused at a miss" /guarded/other.html -A 'Mozilla/5.00 (Nikto/2.1.5)'
attack "SQL in a form is refused" /guarded/form -d "a=b&id=1' UNION SELECT 1,2,3-- -"
attack "SQL in JSON is refused" /guarded/form -H 'content-type: application/json' -d '{"a":{"id":"1 UNION SELECT password FROM users"}}'
attack "markup in a part is refused" /guarded/form --form-string 'comment=<script>alert(1)</script>'
same "the origin has seen none of them" 0 "$(($(asked '/guarded/form') + $(asked '/guarded/other.html')))"
for harmless in "/guarded/page.html?q=O%27Brien" "/guarded/page.html?page=2&sort=date" "/guarded/page.html?v=SGVsbG8%3D"; do
  ask "$harmless"
  same "harmless: $harmless" "200 2" "$told"
done
ask /guarded/form -d 'name=Ann&comment=the tide comes in twice'
same "a harmless form goes on to where there is nothing" "404 2" "$told"
ask /index.html -A Nikto
same "the rest of the site is not looked into" "200 2" "$told"
await 5 grep -q '"reason":"modsecurity"' "$work/access.log"
like "the log names the rules" '"reason":"modsecurity","inspection":"modsecurity[^"]* 942[0-9]{3}' "$(grep guarded "$work/access.log")"
like "explain tells them" 'modsecurity.*942' "$("$tidegate" explain --admin "127.0.0.1:$admin_port" --json "https://site.test:$edge_port/guarded/page.html?id=1%27%20OR%20%271%27%3D%271")"

holds "detect takes its place" guard detect
ask "/guarded/page.html?id=1%27%20OR%20%271%27%3D%271"
same "an attack is answered" "200 2" "$told"
told_of() { grep -q '"would_refuse":"modsecurity"' "$work/access.log"; }
holds "and told of" await 10 told_of

{ cat "$work/settings.before"; printf '[modsecurity]\nlibrary = "libnothing.so.3"\n'; } >"$work/tidegate.toml"
like "a library that is not there is named with its package" 'cannot load .libnothing.so.3.*libmodsecurity3' \
  "$("$tidegate" check "$work/tidegate.toml" 2>&1 | tr '\n' ' ')"
cp "$work/settings.before" "$work/tidegate.toml"
holds "the settings of before are taken again" "$tidegate" reload --admin "127.0.0.1:$admin_port"
