// An origin of a page, of WebSocket, and of a text in two parts: node chat.mjs PORT
//
// Whatever is said to it comes back in capitals. `/drip` holds its second part back until somebody asks for `/go`.
import crypto from 'node:crypto'
import http from 'node:http'

const held = []
const server = http.createServer((request, response) => {
  if (request.url.startsWith('/drip')) {
    response.writeHead(200, { 'content-type': 'text/plain', 'cache-control': 'no-store' })
    response.write('first '.repeat(100))
    held.push(() => response.end('last '.repeat(100)))
  } else if (request.url === '/go') {
    held.splice(0).forEach((end) => end())
    response.writeHead(200, { 'cache-control': 'no-store' })
    response.end('gone')
  } else {
    response.writeHead(200, { 'content-type': 'text/html', 'cache-control': 'max-age=600' })
    response.end('<!doctype html><link rel="icon" href="data:,"><title>chat</title>\n')
  }
})

server.on('upgrade', (request, socket, first) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
  const proof = crypto.createHash('sha1').update(key).digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${proof}\r\n\r\n`)
  let input = first
  const frame = (kind, bytes) => {
    const head = bytes.length < 126 ? [kind, bytes.length] : [kind, 126, bytes.length >> 8, bytes.length & 255]
    socket.write(Buffer.concat([Buffer.from(head), bytes]))
  }
  const take = () => {
    while (input.length >= 2) {
      const kind = input[0] & 15
      const long = (input[1] & 127) === 126
      const at = long ? 4 : 2
      if (input.length < at + 4) return
      const length = long ? input.readUInt16BE(2) : input[1] & 127
      const mask = input.subarray(at, at + 4)
      if (input.length < at + 4 + length) return
      const bytes = Buffer.from(input.subarray(at + 4, at + 4 + length)).map((byte, nth) => byte ^ mask[nth % 4])
      input = input.subarray(at + 4 + length)
      if (kind === 1) frame(0x81, Buffer.from(bytes.toString().toUpperCase()))
      if (kind === 8) {
        frame(0x88, bytes)
        socket.end()
      }
    }
  }
  socket.on('data', (bytes) => {
    input = Buffer.concat([input, bytes])
    take()
  })
  socket.on('error', () => {})
  take()
})

server.listen(Number(process.argv[2]), '127.0.0.1')
