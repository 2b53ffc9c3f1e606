# A certificate that is replaced while the node runs.

serial_of() { openssl x509 -noout -serial -in "$1"; }
served() { openssl s_client -connect "127.0.0.1:$edge_port" -servername site.test </dev/null 2>/dev/null | openssl x509 -noout -serial 2>/dev/null; }
same "the certificate of the settings is served" "$(serial_of "$work/site.test.pem")" "$(served)"
# As ACME clients do: written beside and moved into place.
for kind in key pem; do cp "$work/renewed.$kind" "$work/new" && mv "$work/new" "$work/edge.$kind"; done
renewed() { [ "$(served)" = "$(serial_of "$work/renewed.pem")" ]; }
holds "a new one is served when the files change" await 20 renewed
holds "by the same process" kill -0 "$node_pid"
echo 'not a certificate' >"$work/edge.pem"
kill -HUP "$node_pid"
refused() { grep -qi 'settings in force stay' "$work/node.out"; }
holds "a file that is no certificate is told" await 10 refused
same "and the one from before stays" "$(serial_of "$work/renewed.pem")" "$(served)"
cp "$work/renewed.pem" "$work/edge.pem"
