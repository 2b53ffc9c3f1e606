// A load over HTTP/2 of a client that keeps to RFC 9113: on GOAWAY it opens another connection, and asks again there for what the
// server says it has not looked at (a stream above the last one, REFUSED_STREAM). Whatever else goes wrong is a failure.
//
//   node load2.mjs PORT CAFILE STOPFILE REQUESTS PATH…     ends once STOPFILE is there and REQUESTS are done
import { existsSync, readFileSync } from "node:fs";
import { connect, constants } from "node:http2";

const [port, ca, stop, least, ...paths] = process.argv.slice(2);
const options = { ca: readFileSync(ca), servername: "site.test", settings: { enablePush: false } };
const count = { done: 0, failed: 0, again: 0, connections: 0, statuses: {} };
const why = new Set();
let next = 0;
const over = () => count.done >= Number(least) && existsSync(stop);

const session = () => {
  const one = connect(`https://127.0.0.1:${port}`, options);
  count.connections += 1;
  one.leaving = false;
  one.on("goaway", () => (one.leaving = true));
  one.on("close", () => (one.leaving = true));
  one.on("error", (error) => {
    one.leaving = true;
    why.add(`session: ${error.code} ${error.message}`);
  });
  return one;
};

const ask = (one, path) =>
  new Promise((resolve) => {
    const stream = one.request({ ":path": path, ":authority": "site.test" });
    let status = 0;
    let failed = null;
    stream.on("response", (head) => (status = head[":status"]));
    stream.on("data", () => {});
    stream.on("error", (error) => (failed = error));
    stream.on("close", () => {
      const refused = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
      // Node names streams that a GOAWAY left out so.
      const unseen = failed?.code === "ERR_HTTP2_GOAWAY_SESSION" || (status === 0 && one.leaving && refused);
      if (unseen || refused) return resolve("again");
      if (failed || stream.rstCode !== constants.NGHTTP2_NO_ERROR) {
        why.add(`stream: ${failed?.code} ${failed?.message} rst ${stream.rstCode}`);
        return resolve("failed");
      }
      count.statuses[status] = (count.statuses[status] ?? 0) + 1;
      resolve(status === 200 ? "done" : "failed");
    });
  });

const client = async () => {
  let one = session();
  const lane = async () => {
    while (!over()) {
      const path = paths[next++ % paths.length];
      let outcome = "again";
      for (let tries = 0; outcome === "again" && tries < 10; tries++) {
        if (one.leaving || one.closed || one.destroyed) one = session();
        if (tries > 0) count.again += 1;
        outcome = await ask(one, path).catch((error) => (why.add(`ask: ${error.code}`), "again"));
      }
      if (outcome === "done") count.done += 1;
      else count.failed += 1;
    }
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  one.close();
};
await Promise.all(Array.from({ length: 4 }, client));
console.log(JSON.stringify({ ...count, why: [...why] }));
process.exit(count.failed === 0 ? 0 : 1);
