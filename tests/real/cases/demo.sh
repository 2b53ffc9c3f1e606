# `tidegate demo`, as a newcomer meets it.

free_port demo_port && free_port demo_admin
spawn "$work/demo.out" "$tidegate" demo --from "127.0.0.1:$demo_port" --admin "127.0.0.1:$demo_admin"
demo_pid=$pid
demo=http://127.0.0.1:$demo_port
holds "the demo starts" await 20 listens "$demo_port"
holds "and says what to try" await 5 grep -q 'Ctrl-C ends it' "$work/demo.out"

# Every page that can be reached from the front page, and what they are made of.
todo=(/) seen=' / ' pages=0 broken=
while [ ${#todo[@]} -gt 0 ]; do
  page=${todo[0]} todo=("${todo[@]:1}")
  ask "$demo$page"
  pages=$((pages + 1))
  [ "$told" = '200 1.1' ] || broken+=" $page: $told"
  if grep -qi '^content-type: text/html' <<<"$head"; then
    while read -r next; do
      [[ $seen == *" $next "* ]] || { seen+="$next " todo+=("$next"); }
    done < <(grep -oE '(href|src)="/[^"]*"' "$work/body" | cut -d'"' -f2 | sort -u)
  fi
done
same "every page and picture of its site comes through the node" '' "$broken"
holds "and they are many ($pages)" test "$pages" -ge 15

ask "$demo/harbour/the-gate-holds"
like "a page that was read is a hit" '^cache-status: .*; hit' "$head"
ask "$demo/harbour/the-gate-holds" -X PURGE
like "PURGE works" '^200 1\.1.*"matched": ?1' "$told $(cat "$work/body")"
ask "$demo/harbour/the-gate-holds"
like "and is followed by a miss" '^cache-status: .*; fwd=uri-miss' "$head"

# What the guide prints, line by line, in a shell of its own; `look` is the first of them.
sed -n 's/^    //p' "$work/demo.out" >"$work/guide.sh"
tried=$(bash -e "$work/guide.sh" 2>&1)
same "every command of the guide works when pasted" 0 $?
for sign in '; hit; ttl=[0-9]+' 'hit; ttl=-' '<h1>' 'forgot 1 stored response' '"matched"' 'x-berth: pier' 'decision +'; do
  like "the guide shows $sign" "$sign" "$tried"
done

ask "http://127.0.0.1:$demo_admin/"
like "the dashboard answers" '^200 1\.1.*<title>' "$told $(tr '\n' ' ' <"$work/body")"
for path in /live /ready /metrics /v1/stat; do
  ask "http://127.0.0.1:$demo_admin$path"
  same "$path answers" "200 1.1" "$told"
done
