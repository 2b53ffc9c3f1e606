// Runs every line under "Examples:" of `tidegate COMMAND --help`, in the world that `examples` makes, and the blocks of the book that
// are marked for it. One line a claim.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { beside, blocks, lines as commandsOf } from './page.mjs';

const [root, place] = process.argv.slice(2);
const page = `${root}/docs/commands.md`;
const pages = [...readdirSync(`${root}/docs`).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`), ...beside];
process.chdir(place);
// Bounded: what does not come within this fails its claim.
const PATIENCE = 60_000;
const hosts = readFileSync('hosts.before', 'utf8');
const lies = (address) => writeFileSync('/etc/hosts', `${hosts}\n${address} www.example.com\n`);

let passed = 0;
let failed = 0;
const claim = (name, why) => {
  if (why) failed += 1;
  else passed += 1;
  console.log(why ? `FAILED  ${name}\n        ${String(why).trim().replaceAll('\n', '\n        ')}` : `ok      ${name}`);
};
const shell = (line, cwd = '.') => spawnSync('bash', ['-o', 'pipefail', '-c', line], { cwd, encoding: 'utf8', timeout: PATIENCE });
const until = async (what) => {
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    if (await what()) return true;
    await pause(50);
  }
  return false;
};
const listens = (host, port) => new Promise((resolve) => {
  const socket = connect({ host, port });
  socket.on('connect', () => { socket.destroy(); resolve(true); });
  socket.on('error', () => resolve(false));
});
const asks = (url) => shell(`curl -sk -m 10 -o /dev/null -w '%{http_code}' '${url}'`).stdout;

// A command of its own process group, so that all of a pipe can be ended.
const begin = (line) => {
  const child = spawn('bash', ['-o', 'pipefail', '-c', line], { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
  const running = { child, said: '', ended: once(child, 'exit') };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => { running.said += bytes; });
  child.stdin.on('error', () => {});
  return running;
};
const end = async (running, signal = 'SIGTERM') => {
  if (running.child.exitCode === null && running.child.signalCode === null) process.kill(-running.child.pid, signal);
  await running.ended;
};

// A node that the example starts: it answers, then it ends when told to, or goes on as the node of the examples behind it.
const serves = async (line, { port, wanted = '200', stays = false, path = '/' }) => {
  const running = begin(line);
  let code = '';
  const url = port === 443 ? `https://www.example.com${path}` : `http://127.0.0.1:${port}${path}`;
  const answered = await until(() => {
    code = asks(port === 443 ? url : `${url}' -H 'Host: www.example.com`);
    return code === wanted || running.child.exitCode !== null;
  });
  claim(line, answered && code === wanted ? undefined : `it answered ${code || 'nothing'}; it said: ${running.said}`);
  if (!stays) {
    await end(running);
    await until(async () => !(await listens('127.0.0.1', port)));
  }
  return running;
};
// What shows something for as long as one looks.
const follows = async (line, sign, meanwhile) => {
  const running = begin(line);
  const shown = await until(() => {
    meanwhile();
    return sign.test(running.said) || running.child.exitCode !== null;
  });
  claim(line, shown && sign.test(running.said) ? undefined : `not shown: ${sign}; it said: ${running.said.slice(-2000)}`);
  await end(running, 'SIGINT');
};
// What draws on a terminal, and ends at a key.
const draws = async (line) => {
  const running = begin(`script -qec "stty rows 40 cols 120; ${line}" /dev/null`);
  const drawn = await until(() => /hit ratio/i.test(running.said) || running.child.exitCode !== null);
  running.child.stdin.write('q');
  const gone = await Promise.race([running.ended.then(([code]) => code), pause(PATIENCE).then(() => 'still there')]);
  claim(line, drawn && gone === 0 ? undefined : `drawn: ${drawn}, ended with ${gone}; it said: ${running.said.slice(-2000)}`);
  if (gone !== 0) await end(running, 'SIGKILL');
};
const ends = (line, name = line) => {
  // What writes a file does so in a folder where there is none yet.
  const cwd = /^tidegate import/m.test(line) ? mkdtempSync('import-') : '.';
  const told = shell(line, cwd);
  claim(name, told.status === 0 ? undefined : `exit ${told.status}\n${told.stdout.slice(-1500)}\n${told.stderr.slice(-1500)}`);
};

const help = (...words) => shell(`tidegate ${words.join(' ')} --help`).stdout;
// A line's command, without what is said about it behind three blanks.
const examples = (text) => {
  const from = text.split(/^Examples:\n/m)[1];
  if (from === undefined) return [];
  return from.split(/\n\n/)[0].split('\n').filter((line) => /^ {2}\S/.test(line)).map((line) => line.trim().split(/ {3,}/)[0]);
};
const general = help();
// The page of commands has those too that the general help does not list.
const commands = [...readFileSync(page, 'utf8').matchAll(/^## tidegate ([a-z]+)$/gm)].map(([, name]) => name);
const lines = new Map([['', examples(general)], ...commands.map((name) => [name, examples(help(name))])]);
for (const [name, those] of lines) {
  claim(`tidegate ${name}: ${those.length} examples`, those.length === 0 ? 'none were found' : undefined);
  for (const line of those) if (!/^(tidegate|apt-get) /.test(line)) claim(line, 'this is the rest of a line that is too long for the help');
}

const reader = (path) => () => asks(`https://www.example.com${path}`);
const FOLLOWED = new Map([
  ['tidegate log', [/example\.com/, reader('/')]],
  ['tidegate log --status 5xx --host www.example.com', [/503/, reader('/broken')]],
  [`tidegate log --path '/api/*' --cache '!hit,stale' --slower 200ms`, [/\/api\/slow/, reader('/api/slow')]],
  [`tidegate log --json | jq 'select(.ttl == 0)'`, [/"ttl": 0/, reader('/soon')]],
  ['tidegate log --status 5xx', [/503/, reader('/broken')]],
  ['tidegate stat --watch', [/hit/i, reader('/')]],
]);
const SERVING = new Map([
  ['tidegate proxy --to http://127.0.0.1:3000', { port: 8080 }],
  ['tidegate proxy --to http://10.0.0.1:3000 --to http://10.0.0.2:3000 --from :80 --memory 1GiB', { port: 80 }],
  ['tidegate proxy --to https://www.example.com --preset news --log off', { port: 8080 }],
  ['tidegate demo', { port: 8080 }],
  // `tidegate stop --admin 127.0.0.1:9181` ends it.
  ['tidegate demo --from :8081 --admin :9181', { port: 8081, stays: true }],
  ['tidegate check tidegate.toml && tidegate run', { port: 8080 }],
  ['tidegate run', { port: 443 }],
  // The node that all others speak to.
  ['tidegate run --config /etc/tidegate/tidegate.toml', { port: 443, stays: true }],
]);
const started = [];
const serve = async (line) => { started.push(await serves(line, SERVING.get(line))); };

// First what starts a node, beside an origin at https://www.example.com; the last of them stays, and is that site from then on.
lies('127.0.0.2');
const all = [...lines.values()].flat();
const nodes = all.filter((line) => SERVING.has(line));
const seen = new Set();
for (const line of nodes.filter((line) => SERVING.get(line).port !== 443)) if (!seen.has(line)) { seen.add(line); await serve(line); }
lies('127.0.0.1');
for (const line of nodes.filter((line) => SERVING.get(line).port === 443)) if (!seen.has(line)) { seen.add(line); await serve(line); }
const far = begin('tidegate run --config far.toml');
await until(() => listens('10.0.0.5', 9180));

// Then what speaks to it, `stop` last.
const speaks = async (line) => {
  if (FOLLOWED.has(line)) await follows(line, ...FOLLOWED.get(line));
  else if (/^tidegate top/.test(line)) await draws(line);
  else ends(line);
};
const stops = all.filter((line) => line.startsWith('tidegate stop'));
// Blocks of the book: whole, or by the line where one of them shows something for as long as one looks.
const said = [];
for (const name of pages) {
  for (const block of blocks(readFileSync(`${root}/${name}`, 'utf8')).filter((block) => block.mark === 'world')) {
    const each = commandsOf(block.body);
    said.push(...each);
    if (each.some((line) => FOLLOWED.has(line) || /^tidegate top/.test(line))) for (const line of each) await speaks(line);
    else ends(`set -e\n${block.body}`, `${name}:${block.line}: ${each[0]}${each.length > 1 ? ' …' : ''}`);
  }
}
for (const line of [...all.filter((line) => !stops.includes(line)), ...stops]) {
  if (seen.has(line)) continue;
  seen.add(line);
  await speaks(line);
}
claim('what was told to stop is gone', (await until(async () => !(await listens('127.0.0.1', 443)) && !(await listens('127.0.0.1', 8081)))) ? undefined : 'it listens');
const missing = [...SERVING.keys(), ...FOLLOWED.keys()].filter((line) => !all.includes(line) && !said.includes(line));
claim('no example is expected that is not there', missing.join('\n'));
await end(far);
console.log(`examples: ${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
