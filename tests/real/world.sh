# The world of the real-dependency tests: an authority, a site behind nginx, a node in front. Sourced by `run`.

# authority and leaf NAME SUBJECT_ALT_NAMES: certificates, elliptic, for some days.
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=Tests of Tidegate" \
    -keyout "$work/ca.key" -out "$work/ca.pem" 2>"$work/openssl"
}
leaf() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" \
    -keyout "$work/$1.key" -out "$work/$1.csr" 2>>"$work/openssl" &&
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 30 \
      -extfile <(printf 'subjectAltName=%s\n' "$2") -out "$work/$1.pem" 2>>"$work/openssl"
}

# The site's files: what a static site is made of, and 4 and 20 MB that nobody can guess: one that the node's memory keeps
# and one that it lets through.
write_site() {
  local site=$work/site paragraph
  mkdir -p "$site/brief" "$site/strict" "$site/private"
  paragraph='<p>The tide comes in twice a day and asks at the gate. Whoever asked before it has the answer already.</p>'
  {
    printf '<!doctype html><html lang="en"><head><title>A real page</title><link rel="stylesheet" href="/style.css">'
    printf '<script src="/app.js" defer></script></head><body><h1>A real page</h1><img src="/picture.png" alt="">'
    for _ in $(seq 60); do printf '%s\n' "$paragraph"; done
    printf '</body></html>\n'
  } >"$site/index.html"
  for _ in $(seq 200); do echo 'p { margin: 0 0 1rem; line-height: 1.5; }'; done >"$site/style.css"
  for at in $(seq 200); do echo "export const line$at = () => document.querySelectorAll('p')[$at];"; done >"$site/app.js"
  cp "$root/src/demo/assets/harbour.png" "$site/picture.png"
  head -c 70000000 /dev/urandom >"$site/big.bin"
  head -c 4000000 /dev/urandom >"$site/film.bin"
  for place in brief strict private; do echo "<title>$place</title>" >"$site/$place/page.html"; done
  # Older than a second, so that validators made of it are strong ones.
  find "$site" -type f -exec touch -d '2026-01-01 00:00:00 UTC' {} +
}

write_origin() {
  local user=
  [ "$(id -u)" != 0 ] || user='user root;'
  cat >"$work/nginx.conf" <<CONF
daemon off; $user pid $work/nginx.pid; error_log $work/nginx.error warn; worker_processes 1;
events { worker_connections 512; }
http {
  log_format seen '\$request_method \$request_uri \$status \$http_host "\$http_x_forwarded_for" "\$http_via" \$ssl_server_name';
  access_log $work/origin.log seen;
  client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
  uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  types { text/html html; text/css css; application/javascript js; image/png png; application/octet-stream bin; }
  gzip on; gzip_proxied any; gzip_vary on; gzip_types text/css application/javascript;
  root $work/site;
  server {
    listen 127.0.0.1:$origin_port ssl;
    ssl_certificate $work/origin.test.pem; ssl_certificate_key $work/origin.test.key;
    location / { add_header Cache-Control "max-age=600"; }
    location /brief/ { add_header Cache-Control "max-age=1, stale-if-error=600"; }
    location /strict/ { add_header Cache-Control "max-age=1, must-revalidate"; }
    location /private/ { add_header Cache-Control "private, max-age=600"; }
  }
}
CONF
}

write_settings() {
  cat >"$work/tidegate.toml" <<TOML
node = "real"

[[listener]]
address = "127.0.0.1:$edge_port"
tls = [ { cert = "edge.pem", key = "edge.key" } ]

[[listener]]
address = "127.0.0.1:$plain_port"

[admin]
address = "127.0.0.1:$admin_port"

[log]
access = "access.log"

[limits]
drain_timeout = "60s"

[pool.site]
origins = ["https://127.0.0.1:$origin_port"]
server_name = "origin.test"
ca = "ca.pem"
eject_after = 1000

[pool.stranger]
origins = ["https://127.0.0.1:$origin_port"]
server_name = "origin.test"

[pool.early]
origins = ["http://127.0.0.1:$early_port"]

[pool.dead]
origins = ["http://127.0.0.1:$dead_port"]

[[site]]
hosts = ["site.test"]
pool = "site"

[[site.route]]
path = "/stranger/*"
pool = "stranger"

[[site.route]]
path = "/early/*"
pool = "early"

[[site.route]]
path = "/dead/*"
pool = "dead"

[purge]
method_from = ["127.0.0.1/32"]
TOML
}

start_nginx() {
  spawn "$work/nginx.out" nginx -c "$work/nginx.conf" -p "$work"
  nginx_pid=$pid
  await 20 listens "$origin_port" || { echo "nginx does not start: $(cat "$work/nginx.out")" >&2; exit 1; }
}
stop_nginx() {
  kill -TERM "$nginx_pid"
  ended "$nginx_pid" 20
}

start_origin() {
  free_port edge_port && free_port plain_port && free_port admin_port && free_port origin_port
  free_port early_port && free_port dead_port
  authority && leaf origin.test DNS:origin.test && leaf site.test DNS:site.test && leaf renewed DNS:site.test ||
    { cat "$work/openssl" >&2; exit 1; }
  cp "$work/site.test.pem" "$work/edge.pem" && cp "$work/site.test.key" "$work/edge.key"
  write_site
  write_origin
  start_nginx
  spawn "$work/early.out" node "$here/early.mjs" "$early_port"
  await 20 listens "$early_port" || { echo "the origin of early hints does not start" >&2; exit 1; }
}

start_node() {
  [ -e "$work/tidegate.toml" ] || write_settings
  spawn "$work/node.out" "$tidegate" run --config "$work/tidegate.toml"
  node_pid=$pid
  { await 20 listens "$edge_port" && await 20 listens "$admin_port"; } || { echo "the node does not start: $(cat "$work/node.out")" >&2; exit 1; }
}
