// Runs the public HTTP cache test suite (npm: http-cache-tests) against Tidegate, once for each preset that has a list in
// expected/, and compares every result with that list. `required` and `optimal` tests must pass unless the list names
// them with a reason; a test on the list that passes is a failure too, so that the list stays true.
//
//   node run.mjs TIDEGATE [PRESET…]     ONLY=test-id for one test, with its exchanges printed
//
// `check` tests have no right answer; what Tidegate does is printed, not judged. Browser-only tests are left out, as the suite
// does for every proxy.

import { spawn } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const require = createRequire(import.meta.url)
const suite = path.dirname(require.resolve('http-cache-tests/package.json'))
const [tidegate, ...wanted] = process.argv.slice(2)
if (!tidegate) {
  console.error('usage: node run.mjs TIDEGATE [PRESET…]')
  process.exit(2)
}

if (process.env.CONFORMANCE_BASE) {
  await child()
} else {
  await parent()
}

// One preset at a time in a process of its own: the suite keeps its state in modules.
async function child () {
  const load = file => import(pathToFileURL(path.join(suite, file)))
  const fetch = require('node-fetch')
  const tests = [...(await load('tests/index.mjs')).default, (await load('tests/surrogate-control.mjs')).default]
  const { runTests, getResults } = await load('client/runner.mjs')
  const only = process.env.ONLY
  const chosen = tests.map(group => ({
    ...group,
    tests: group.tests.filter(test => !only || test.id === only).map(test => Object.assign(test, { dump: Boolean(only) }))
  }))
  const log = console.log
  if (!only) console.log = () => {}
  await runTests(chosen, fetch, false, process.env.CONFORMANCE_BASE)
  console.log = log
  const kinds = {}
  for (const group of tests) {
    for (const test of group.tests) {
      if (test.browser_only) continue
      kinds[test.id] = { kind: test.kind ?? 'required', depends: test.depends_on ?? [] }
    }
  }
  process.send({ results: getResults(), kinds })
}

async function parent () {
  const lists = readdirSync(path.join(here, 'expected')).map(file => path.basename(file, '.json'))
  const presets = wanted.length ? wanted : lists
  const runs = await Promise.all(presets.map(run))
  let wrong = 0
  let right = 0
  for (const [preset, { results, kinds }] of runs) {
    const expected = JSON.parse(readFileSync(path.join(here, 'expected', `${preset}.json`), 'utf8'))
    const tally = { required: [0, 0], optimal: [0, 0], check: [0, 0] }
    const unexpected = []
    for (const [id, { kind }] of Object.entries(kinds)) {
      if (!(id in results)) continue
      const passed = results[id] === true
      tally[kind][passed ? 0 : 1]++
      if (kind === 'check') continue
      const excused = id in expected
      if (passed === excused) {
        unexpected.push(`${kind} ${id}: ${passed ? 'passes, but is on the list of exceptions' : results[id].join(': ')}`)
      }
    }
    for (const id of Object.keys(expected)) {
      if (!(id in kinds) && !process.env.ONLY) unexpected.push(`${id} is on the list of exceptions, but there is no such test`)
    }
    const sum = ([yes, no]) => `${yes} of ${yes + no}`
    console.log(`preset ${preset}: required ${sum(tally.required)}, optimal ${sum(tally.optimal)}, ` +
      `${Object.keys(expected).length} on the list of exceptions; checks answered yes ${sum(tally.check)}`)
    for (const line of unexpected) console.log(`  UNEXPECTED ${line}`)
    wrong += unexpected.length
    right += tally.required[0] + tally.optimal[0] + Object.keys(expected).length
  }
  console.log(`\nconformance: ${right} passed, ${wrong} failed`)
  process.exit(wrong ? 1 : 0)
}

async function run (preset) {
  const [origin, edge, admin] = await Promise.all([freePort(), freePort(), freePort()])
  const server = spawn(process.execPath, ['--no-warnings', path.join(suite, 'server/server.mjs')], {
    cwd: suite,
    stdio: 'ignore',
    env: { ...process.env, npm_config_protocol: 'http', npm_config_port: origin, npm_config_pidfile: '/dev/null' }
  })
  const node = spawn(tidegate, ['proxy', '--to', `http://127.0.0.1:${origin}`, '--from', `127.0.0.1:${edge}`,
    '--admin', `127.0.0.1:${admin}`, '--preset', preset], { stdio: ['ignore', 'ignore', 'inherit'] })
  try {
    await Promise.all([listening(origin, server), listening(edge, node)])
    return [preset, await results(`http://127.0.0.1:${edge}`)]
  } finally {
    node.kill()
    server.kill()
  }
}

function results (base) {
  return new Promise((resolve, reject) => {
    const suiteRun = spawn(process.execPath, ['--no-warnings', fileURLToPath(import.meta.url), tidegate], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, CONFORMANCE_BASE: base }
    })
    const late = setTimeout(() => suiteRun.kill(), 600_000)
    suiteRun.on('message', message => { clearTimeout(late); resolve(message); suiteRun.disconnect() })
    suiteRun.on('exit', code => { clearTimeout(late); reject(new Error(`the suite ended with ${code} and no results`)) })
  })
}

function freePort () {
  return new Promise(resolve => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

async function listening (port, process) {
  for (let turn = 0; turn < 300; turn++) {
    if (process.exitCode !== null) throw new Error(`${process.spawnfile} ended with ${process.exitCode} before it listened`)
    const open = await new Promise(resolve => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) })
      socket.on('error', () => resolve(false))
    })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error(`nothing listens on port ${port}`)
}
