#!/usr/bin/env node
// A new binary that goes wrong on its way to take over: it speaks as one would (src/handover/wire.rs) up to a point, and then ends or
// hangs. Where it stops and how is the first word beside this file, in `successor.how`: `after-released exit`.
import { readFileSync } from "node:fs";
import { Socket } from "node:net";

const [stop, how] = readFileSync(new URL("successor.how", `file://${process.argv[1]}`), "utf8").trim().split(" ");
const channel = new Socket({ fd: 0 });
const say = (word) => {
  const text = Buffer.from(JSON.stringify(word));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  channel.write(Buffer.concat([length, text]));
};
// Never resolves where it is to hang: the process waits for ever.
const reached = (point) => {
  if (point !== stop) return;
  if (how === "exit") process.exit(9);
  if (how === "refuse") say({ refused: { detail: "not today" } });
  setInterval(() => {}, 1 << 30);
  throw new Error("hangs");
};
process.on("uncaughtException", () => {});

let bytes = Buffer.alloc(0);
let sockets = null;
channel.on("data", (more) => {
  bytes = Buffer.concat([bytes, more]);
  for (;;) {
    // Beside each socket that is handed over comes one byte.
    if (sockets !== null) {
      const skipped = Math.min(sockets, bytes.length);
      bytes = bytes.subarray(skipped);
      sockets -= skipped;
      if (sockets > 0) return;
      sockets = null;
      reached("hello");
      say({ prepared: { version: "0.0.0-wrong" } });
    }
    if (bytes.length < 4 || bytes.length < 4 + bytes.readUInt32LE()) return;
    const word = JSON.parse(bytes.subarray(4, 4 + bytes.readUInt32LE()));
    bytes = bytes.subarray(4 + bytes.readUInt32LE());
    if (word.hello) sockets = word.hello.listeners.reduce((sum, one) => sum + one.sockets, 0);
    if (word.released) {
      reached("released");
      say("ready");
    }
    if (word === "go") reached("go");
  }
});
