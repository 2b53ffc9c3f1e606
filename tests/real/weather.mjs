// Origins that fail in every way that origins do, and the readers who ask meanwhile.
//
//   node weather.mjs origin PORT COUNTS            one origin; adds a byte to the file COUNTS for each request, so that it is
//                                                  counted whatever ends it. GET /-/MODE on it changes what it does.
//   node weather.mjs load PORT SECONDS RATE PATH   asks the node for PATH with a number behind it, RATE times a second whatever
//                                                  is answered; prints what came of it as JSON.
//   node weather.mjs ask PORT COUNT PATH           asks for PATH1 … PATHcount, 32 at a time; prints the same.
import fs from 'node:fs'
import http from 'node:http'

const [what, port, ...rest] = process.argv.slice(2)
const body = Buffer.from('The tide comes in twice a day and asks at the gate.\n'.repeat(20))

function origin(counts) {
  const file = fs.openSync(counts, 'a')
  let mode = 'well', since = Date.now()
  const whole = (response, status = 200) => {
    const control = /^\/brief/.test(response.req.url) ? 'max-age=1, stale-if-error=600' : 'max-age=600'
    response.writeHead(status, { 'content-type': 'text/plain', 'cache-control': control, 'content-length': body.length })
    response.end(body)
  }
  const server = http.createServer((request, response) => {
    if (request.url.startsWith('/-/')) {
      mode = request.url.slice(3)
      since = Date.now()
      return response.end('now ' + mode + '\n')
    }
    fs.writeSync(file, '.')
    const now = mode === 'flapping' ? (Math.floor((Date.now() - since) / 700) % 2 ? 'well' : 'resetting') : mode
    switch (now) {
      case 'slow': return setTimeout(() => whole(response), 5000)
      case 'resetting': return request.socket.resetAndDestroy()
      case 'lying':
        response.writeHead(200, { 'cache-control': 'max-age=600', 'content-length': body.length })
        return response.write(body.subarray(0, 500), () => request.socket.destroy())
      case 'failing': return whole(response, 503)
      default: return whole(response)
    }
  })
  server.keepAliveTimeout = 60000
  server.listen({ port: Number(port), host: '127.0.0.1', backlog: 2048 })
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 4096 })
const counts = { asked: 0, errors: 0, early: 0, late: 0, misses: 0, stale: 0, slowest_ms: 0, kinds: {} }

// One request; `at` is when it was sent, milliseconds from the beginning.
function ask(path, at) {
  counts.asked++
  const began = Date.now()
  return new Promise(done => {
    let over = false
    const end = kind => {
      if (over) return
      over = true
      counts.slowest_ms = Math.max(counts.slowest_ms, Date.now() - began)
      if (kind) {
        counts.errors++
        counts[at < 3000 ? 'early' : 'late']++
        counts.kinds[kind] = (counts.kinds[kind] ?? 0) + 1
      }
      done()
    }
    const request = http.get({ agent, port: Number(port), host: '127.0.0.1', path, headers: { host: 'weather.test' } }, response => {
      const status = response.headers['cache-status'] ?? ''
      if (/fwd=/.test(status)) counts.misses++
      if (/hit; ttl=-/.test(status)) counts.stale++
      let length = 0
      response.on('data', piece => (length += piece.length))
      response.on('end', () => {
        if (response.statusCode !== 200) end(response.statusCode + ' ' + (/detail=([\w-]+)/.exec(status)?.[1] ?? ''))
        else end(response.complete && length === body.length ? null : 'cut')
      })
      response.on('error', () => end('cut'))
      response.on('aborted', () => end('cut'))
    })
    request.on('error', error => end(error.code))
    request.setTimeout(30000, () => request.destroy(Object.assign(new Error('late'), { code: 'late' })))
  })
}

async function load(seconds, rate, path) {
  const began = Date.now(), all = []
  let sent = 0
  // Whatever is answered, and however late this program is woken: as many as are due.
  await new Promise(done => {
    const timer = setInterval(() => {
      const at = Math.min(Date.now() - began, seconds * 1000)
      for (const due = Math.floor((at / 1000) * rate); sent < due; sent++) all.push(ask(path + sent, at))
      if (at >= seconds * 1000) done(clearInterval(timer))
    }, 5)
  })
  await Promise.all(all)
}

async function some(count, path) {
  let next = 0
  const one = async () => { while (next < count) await ask(path + ++next, 0) }
  await Promise.all(Array.from({ length: 32 }, one))
}

if (what === 'origin') origin(rest[0])
else {
  await (what === 'load' ? load(Number(rest[0]), Number(rest[1]), rest[2]) : some(Number(rest[0]), rest[1]))
  console.log(JSON.stringify(counts))
  process.exit(0)
}
