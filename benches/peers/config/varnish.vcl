vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "@ORIGINPORT@"; }
sub vcl_deliver { if (obj.hits > 0) { set resp.http.X-Cache = "HIT"; } else { set resp.http.X-Cache = "MISS"; } }
