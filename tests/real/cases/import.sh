# nginx and Caddy with settings of theirs, and nodes with what `tidegate import` makes of those: the same requests, answered alike.
need caddy caddy || exit 1
free_port theirs_port && free_port ours_port && free_port app_port
mkdir -p "$work/import/files"

# alike NAME REQUEST…: asks both; what matters of the answers must be the same. A request is curl's arguments, the path first.
alike() {
  local path=$1 port
  shift
  for port in "$theirs_port" "$ours_port"; do
    curl -sS -m 20 -o "$work/import/body.$port" -D "$work/import/head.$port" "$@" -H 'Host: www.import.test' "http://127.0.0.1:$port$path" \
      2>"$work/import/curl.$port" || true
    # The status, and the fields that settings decide; redirects of either name the host asked for.
    { sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$work/import/head.$port"
      tr -d '\r' <"$work/import/head.$port" | grep -iE '^(location|x-frame-options|x-env|cache-control|www-authenticate):' \
        | tr 'A-Z' 'a-z' | sed -e 's/:[0-9][0-9]*\//\//' | sort
      # Pages of redirects and errors are each server's own.
      if [ "${1-}" != -I ] && grep -q '^[^ ]* 2' "$work/import/head.$port"; then
        tr -d '\r' <"$work/import/head.$port" | grep -i '^content-type:' | tr 'A-Z' 'a-z' | sed 's/; *charset=[^;]*//'
        cat "$work/import/body.$port"
      fi; } >"$work/import/told.$port"
  done
  same "$server and its import answer alike: $path $*" "$(cat "$work/import/told.$theirs_port")" "$(cat "$work/import/told.$ours_port")"
}

# The application says what it was asked.
cat >"$work/import/app.conf" <<CONF
daemon off; user root; pid $work/import/app.pid; error_log $work/import/app.error; worker_processes 1;
events {}
http {
  access_log off; default_type text/plain;
  client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  server {
    listen 127.0.0.1:$app_port;
    location / { add_header Cache-Control "max-age=60"; return 200 "\$request_method \$request_uri \$http_x_real_ip \$http_x_env\n"; }
    location /missing { return 404; }
  }
}
CONF
spawn "$work/import/app.out" nginx -c "$work/import/app.conf" -p "$work/import"
await 20 listens "$app_port" || no "the application starts" "$(cat "$work/import/app.out")"

# node FROM FILE: a node with the import of a file, on its own port.
import_node() {
  holds "tidegate import $1 translates it" "$tidegate" import "$1" "$2" --output "$work/import/$1.toml"
  sed -i "s|^address = \".*:$theirs_port\"|address = \"127.0.0.1:$ours_port\"|" "$work/import/$1.toml"
  printf '\n[admin]\naddress = "off"\n' >>"$work/import/$1.toml"
  holds "and what comes out passes the check" "$tidegate" check "$work/import/$1.toml"
  spawn "$work/import/$1.node" "$tidegate" run --config "$work/import/$1.toml"
  imported=$pid
  await 20 listens "$ours_port" || no "a node runs with it" "$(cat "$work/import/$1.node")"
}

server=nginx
cat >"$work/import/nginx.conf" <<CONF
daemon off; user root; pid $work/import/nginx.pid; error_log $work/import/nginx.error; worker_processes 1;
events { worker_connections 256; }
http {
  access_log off; default_type text/plain; server_tokens off; absolute_redirect off;
  client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3; uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  proxy_cache_path $work/import/cache keys_zone=z:1m max_size=1g inactive=10m;
  upstream app { server 127.0.0.1:$app_port weight=2 max_fails=3; }
  proxy_set_header Host \$host;
  proxy_set_header X-Real-IP \$remote_addr;
  server {
    listen 127.0.0.1:$theirs_port;
    server_name www.import.test;
    add_header X-Frame-Options DENY always;
    rewrite ^/moved/(.*)\$ /new/\$1 permanent;
    location / { proxy_pass http://app; proxy_cache z; proxy_cache_valid 200 10m; }
    location /api/ { proxy_pass http://app/v2/; }
    location = /exact { proxy_pass http://app/other; }
    location /pre { proxy_pass http://app; proxy_set_header X-Env prefixed; proxy_set_header Host \$host; proxy_set_header X-Real-IP \$remote_addr; }
    location ^~ /firm/ { return 200 "firm"; }
    location ~ \.(css|js)\$ { proxy_pass http://app; proxy_set_header X-Env "style"; proxy_set_header Host \$host; proxy_set_header X-Real-IP \$remote_addr; }
    location ~ ^/user/(\d+)\$ { return 302 /profile/\$1; }
    location = /robots.txt { return 200 "User-agent: *"; }
    location /admin/ { deny all; proxy_pass http://app; }
    location /here/ { allow 127.0.0.0/8; deny all; proxy_pass http://app; }
    location /gone { return 410; }
  }
}
CONF
holds "nginx takes the file" nginx -t -c "$work/import/nginx.conf" -p "$work/import"
spawn "$work/import/nginx.out" nginx -c "$work/import/nginx.conf" -p "$work/import"
theirs=$pid
await 20 listens "$theirs_port" || no "nginx runs with it" "$(cat "$work/import/nginx.out")"
import_node nginx "$work/import/nginx.conf"
for path in / /a?b=c /api/x?y=1 /api/ /exact /prefix/z /firm/x.css /site.css /deep/app.js /user/42 /robots.txt /admin/x /here/x /gone \
  /missing '/moved/a/b?c=d'; do
  alike "$path"
done
alike /a -I
alike /api/form -X POST -d 'a=b'
# Politely: a worker of nginx outlives a master that is killed.
kill -TERM "$theirs" "$imported"
ended "$theirs" 20
ended "$imported" 60

server=caddy
cat >"$work/import/Caddyfile" <<CADDY
{
	admin off
	auto_https off
}
http://www.import.test:$theirs_port {
	header X-Frame-Options DENY
	redir /old /new 301
	respond /never "a handle without a matcher comes first"
	handle /health {
		respond "ok" 200
	}
	handle_path /api/* {
		reverse_proxy 127.0.0.1:$app_port
	}
	@beta {
		path /app/*
		header X-Beta yes
	}
	handle @beta {
		reverse_proxy 127.0.0.1:$app_port {
			header_up X-Env beta
		}
	}
	handle {
		reverse_proxy 127.0.0.1:$app_port
	}
}
CADDY
spawn "$work/import/caddy.out" env HOME="$work/import" XDG_DATA_HOME="$work/import" XDG_CONFIG_HOME="$work/import" \
  caddy run --config "$work/import/Caddyfile" --adapter caddyfile
theirs=$pid
await 20 listens "$theirs_port" || no "Caddy runs with it" "$(cat "$work/import/caddy.out")"
import_node caddy "$work/import/Caddyfile"
for path in / '/a?b=c' /api/x?y=1 /old /health /never /missing /app/x; do alike "$path"; done
alike /app/x -H 'X-Beta: yes'
alike /a -X POST -d x
kill -TERM "$theirs" "$imported"
ended "$theirs" 20
ended "$imported" 60
unset server
