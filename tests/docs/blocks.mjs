// Reads the pages of docs/, checks links and settings, runs commands. See `run`.
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { beside, blocks, lines } from './page.mjs';

const [root, bin, work, ...only] = process.argv.slice(2);
const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
let passed = 0;
let failed = 0;
const byHand = [];
const claim = (name, why) => {
  if (why === undefined) {
    passed += 1;
    console.log(`ok      ${name}`);
  } else {
    failed += 1;
    console.log(`FAILED  ${name}\n        ${String(why).trim().replaceAll('\n', '\n        ')}`);
  }
};

const pages = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`);
const wanted = [...pages, ...beside].filter((page) => only.length === 0 || only.some((name) => page === name || page === `docs/${name}`));

// A heading's anchor as forges make it.
const anchor = (heading) =>
  heading.toLowerCase().replace(/[`*_]/g, (sign) => (sign === '_' ? '_' : '')).replace(/[^\p{L}\p{N}\- _]/gu, '').replaceAll(' ', '-');
const anchors = (text) => text.replace(/^```[^]*?^```/gm, '').split('\n').filter((line) => /^#+ /.test(line)).map((line) => anchor(line.replace(/^#+ /, '')));

const links = (page, text) => {
  const bare = text.replace(/^```[^]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
  const broken = [];
  for (const [, target] of bare.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [path, hash] = target.split('#');
    const file = path ? resolve(root, dirname(page), path) : join(root, page);
    if (!existsSync(file)) broken.push(target);
    else if (hash && !anchors(readFileSync(file, 'utf8')).includes(hash)) broken.push(target);
  }
  claim(`${page}: links lead somewhere`, broken.length ? `nothing at ${broken.join(', ')}` : undefined);
};

// Files that settings in the book name.
const files = (folder) => {
  mkdirSync(folder, { recursive: true });
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30',
    '-subj', '/CN=localhost', '-keyout', join(folder, 'www.key'), '-out', join(folder, 'www.pem')], { stdio: 'ignore' });
  const key = execFileSync('openssl', ['rand', '-hex', '32']);
  for (const name of ['tier.key', '2026.key']) writeFileSync(join(folder, name), key, { mode: 0o600 });
  writeFileSync(join(folder, 'members'), 'ada:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n');
  for (const name of ['googlebot.txt', 'bingbot.txt']) writeFileSync(join(folder, name), '192.0.2.0/24\n');
  copyFileSync(join(root, 'src/demo/assets/places.mmdb'), join(folder, 'country.mmdb'));
  writeFileSync(join(folder, 'tokens.toml'), '[[token]]\nname = "a"\nsha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"\n', { mode: 0o600 });
};

// What a part of a file lacks of a listener, a pool and a site, and of a database where it speaks of countries. A route belongs to the
// site before it.
const around = { '[[listener]]': 'address = "127.0.0.1:8080"\n', '[pool.main]': 'origins = ["http://127.0.0.1:3000"]\n', '[[site]]': 'hosts = ["*"]\n' };
const completed = (body) => {
  const rest = Object.entries(around).filter(([head]) => !body.includes(`${head}\n`)).map(([head, keys]) => `\n${head}\n${keys}`).join('');
  const geo = /\bcountries\b/.test(body) && !body.includes('[geo]') ? '[geo]\ndatabase = "country.mmdb"\n\n' : '';
  return geo + (body.startsWith('[[site.route]]') ? `${rest}\n${body}` : body + rest);
};

const packages = (line) => /^apt-get install (?!\.)/.test(line) && line.split(' ').slice(2);

// Each command of a block that does not run here stands, word for word, in a test that the block names; of packages, their names do.
const elsewhere = (page, block) => {
  const where = `${page}:${block.line}`;
  if (block.elsewhere.join() === 'by-hand') return void byHand.push(where);
  const gone = block.elsewhere.filter((name) => !existsSync(join(root, name)));
  const there = block.elsewhere.filter((name) => !gone.includes(name)).map((name) => readFileSync(join(root, name), 'utf8')).join('\n').replace(/\s+/g, ' ');
  const missing = lines(block.body).filter((line) => !(packages(line) || [line]).every((part) => there.includes(part.replace(/\s+/g, ' '))));
  const why = [...gone.map((name) => `there is no ${name}`), ...missing.map((line) => `not there: ${line}`)];
  if (block.elsewhere.length === 0) why.push('it names no test that runs it');
  claim(`${where}: its commands stand in ${block.elsewhere.join(' and ')}`, why.length ? why.join('\n') : undefined);
};

const settings = (page, block, folder) => {
  const file = join(folder, `line-${block.line}.toml`);
  const body = block.body.replaceAll('"/var/lib/tidegate/', '"');
  writeFileSync(file, block.mark === 'partial' || block.mark.startsWith('+') ? completed(body) : body);
  const told = spawnSync(join(bin, 'tidegate'), ['check', file], { encoding: 'utf8', env, cwd: folder });
  claim(`${page}:${block.line}: the settings pass the check`, told.status === 0 ? undefined : told.stderr);
};

// What a block started in the background has to answer before the next one is run.
const waits = (body) => {
  const ports = [...body.matchAll(/http\.server (\d+)/g)].map(([, port]) => port);
  if (/^tidegate (proxy|run|demo)\b.*&$/m.test(body)) ports.push('9180');
  const waiting = ports.map((port) => `await_port ${port}`);
  if (/^tidegate stop/m.test(body)) waiting.push('await_silence 9180', 'await_silence 8080', 'await_end');
  return waiting.join('\n');
};

// What stays until it is ended: the last line of a block for a terminal of its own.
const stays = (body) => {
  const all = lines(body);
  return `end_terminal\n${all.slice(0, -1).join('\n')}\n${all.at(-1)} >terminal.out 2>&1 &\nterminal=$!\nawait_port 9180`;
};

const commands = (page, shell, folder) => {
  const node = shell.some((block) => block.mark === 'node');
  const script = [
    'set -euo pipefail',
    'ip link set lo up',
    // Bounded: a port that never answers fails the page.
    'listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }',
    'await_port() { for _ in $(seq 1200); do if listens "$1"; then return; fi; sleep 0.05; done; echo "nothing listens on $1" >&2; return 1; }',
    // What was told to stop holds its cache until it is gone.
    'await_end() { for _ in $(seq 1200); do if ! jobs -r | grep -q " tidegate "; then return; fi; sleep 0.05; done; echo "it does not end" >&2; return 1; }',
    'terminal=; end_terminal() { [ -z "$terminal" ] || { kill "$terminal"; wait "$terminal"; terminal=; }; }',
    'await_silence() { for _ in $(seq 1200); do if ! listens "$1"; then return; fi; sleep 0.05; done; echo "$1 is still answered" >&2; return 1; }',
  ];
  if (node) {
    script.push(
      'mkdir -p origin/news && echo home > origin/index.html && echo news > origin/news/index.html',
      'python3 -m http.server 3000 --bind 127.0.0.1 --directory origin >/dev/null 2>&1 &',
      `cat > tidegate.toml <<'TOML'${completed('')}preset = "static"\n\n[purge]\nmethod_from = ["127.0.0.1/32"]\nTOML`,
      'tidegate run >node.out 2>&1 &',
      'await_port 3000; await_port 9180',
    );
  }
  for (const block of shell) {
    const appended = /^\+(.*)/.exec(block.mark);
    if (appended) script.push(`cat >> ${appended[1]} <<'TOML'\n\n${block.body}TOML`);
    else if (block.language === 'toml') script.push(`cat > ${block.mark} <<'TOML'\n${block.body}TOML`);
    else if (block.mark === 'terminal') script.push(`echo "== line ${block.line}" >&2`, stays(block.body));
    else script.push(`echo "== line ${block.line}" >&2`, block.body, waits(block.body));
  }
  const file = join(folder, 'page.sh');
  writeFileSync(file, script.join('\n'));
  const told = spawnSync('unshare', ['--net', '--pid', '--fork', '--kill-child', 'bash', file], { encoding: 'utf8', env, cwd: folder, timeout: 300_000 });
  const end = told.stderr.split('\n').slice(-25).join('\n');
  claim(`${page}: ${shell.length} blocks of commands run`, told.status === 0 ? undefined : `${told.stdout.slice(-1500)}\n${end}`);
};

for (const page of wanted) {
  const text = readFileSync(join(root, page), 'utf8');
  links(page, text);
  const folder = join(work, page.replaceAll('/', '-'));
  files(folder);
  const found = blocks(text);
  for (const block of found.filter((block) => block.language === 'toml' && block.mark !== 'no-check')) settings(page, block, folder);
  // A file that the page has its reader write is there for the commands behind it.
  const shell = found.filter((block) => block.language === 'sh' || (block.language === 'toml' && block.mark.endsWith('.toml')));
  for (const block of shell.filter((block) => block.mark === 'no-run')) elsewhere(page, block);
  // Those for the world of `examples` are run by examples.mjs.
  const runs = shell.filter((block) => !['no-run', 'world'].includes(block.mark));
  if (runs.some((block) => block.language === 'sh')) {
    const place = join(folder, 'shell');
    mkdirSync(place);
    // It stands in the folder that its first commands serve.
    if (page === 'README.md') copyFileSync(join(root, page), join(place, page));
    commands(page, runs, place);
  }
  const strange = found.filter((block) => !['toml', 'sh', 'text', 'yaml', 'php', 'json'].includes(block.language));
  claim(`${page}: every block says what it is`, strange.length ? strange.map((block) => `line ${block.line}: ${block.language}`).join('\n') : undefined);
}
const missing = pages.filter((page) => page !== 'docs/README.md' && !readFileSync(join(root, 'docs/README.md'), 'utf8').includes(`(${page.slice(5)})`));
claim('the table of contents names every page', missing.length ? missing.join(', ') : undefined);
console.log(`docs: ${passed} passed, ${failed} failed; run by hand: ${byHand.join(', ') || 'none'}`);
process.exit(failed ? 1 : 0);
