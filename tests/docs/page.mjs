// How the tests read a page: its blocks, each with what stands behind its three signs.

// Pages that belong to the book and lie elsewhere.
export const beside = ['README.md', 'packaging/README.md', 'purge-api/README.md'];

export const blocks = (text) => {
  const found = [];
  const lines = text.split('\n');
  for (let at = 0; at < lines.length; at += 1) {
    const open = /^```(.*)$/.exec(lines[at]);
    if (!open) continue;
    const body = [];
    const line = at + 1;
    for (at += 1; at < lines.length && lines[at] !== '```'; at += 1) body.push(lines[at]);
    const [language = '', mark = '', ...elsewhere] = open[1].trim().split(/\s+/);
    found.push({ language, mark, elsewhere, line, body: `${body.join('\n')}\n` });
  }
  return found;
};

// The commands of a block, without what is said about them and without `sudo`.
export const lines = (body) =>
  body.replaceAll('\\\n', ' ').split('\n').map((line) => line.replace(/ {2,}# .*$/, '').replace(/^sudo /, '').trim()).filter(Boolean);
