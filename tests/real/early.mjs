// An origin that sends 103 Early Hints (RFC 8297) before its page: node early.mjs PORT
import http from 'node:http'

http.createServer((request, response) => {
  response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' }, () => {
    response.writeHead(200, { 'content-type': 'text/html', 'cache-control': 'max-age=600' })
    response.end('<title>early</title>\n')
  })
}).listen(Number(process.argv[2]), '127.0.0.1')
