// An OpenTelemetry receiver (OTLP/HTTP, JSON): checks what it is sent against the protocol's shape and writes a line of JSON a span.
//
//   node receiver.mjs PORT FILE      answers 503 while FILE.busy is there
import { appendFileSync, existsSync } from "node:fs";
import { createServer } from "node:http";

const [port, file] = process.argv.slice(2);
const wrong = (what) => {
  throw new Error(what);
};
const only = (object, names, where) => {
  for (const name of Object.keys(object)) if (!names.includes(name)) wrong(`${where} has no ${name}`);
};
const hex = (text, bytes, where) => (new RegExp(`^[0-9a-f]{${bytes * 2}}$`).test(text) && !/^0+$/.test(text)) || wrong(`${where}: ${text}`);
const nanos = (text, where) => (typeof text === "string" && /^[0-9]{19}$/.test(text)) || wrong(`${where}: ${text}`);
const attributes = (list, where) => {
  const told = {};
  for (const { key, value, ...rest } of list) {
    only(rest, [], where);
    const [[kind, one], ...more] = Object.entries(value);
    if (more.length) wrong(`${where} ${key} has two values`);
    if (kind === "stringValue" ? typeof one !== "string" : kind !== "intValue" || !/^-?[0-9]+$/.test(one)) wrong(`${where} ${key}: ${kind} ${one}`);
    told[key] = one;
  }
  return told;
};
const spans = ({ resourceSpans, ...rest }) => {
  only(rest, [], "the request");
  const told = [];
  for (const { resource, scopeSpans, ...rest } of resourceSpans) {
    only(rest, ["schemaUrl"], "resourceSpans");
    if (!attributes(resource.attributes, "resource")["service.name"]) wrong("no service.name");
    for (const { scope, spans, ...rest } of scopeSpans) {
      only(rest, ["schemaUrl"], "scopeSpans");
      only(scope, ["name", "version", "attributes"], "scope");
      for (const span of spans) {
        only(span, ["traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes", "status"], "span");
        hex(span.traceId, 16, "traceId");
        hex(span.spanId, 8, "spanId");
        if ("parentSpanId" in span) hex(span.parentSpanId, 8, "parentSpanId");
        nanos(span.startTimeUnixNano, "start");
        nanos(span.endTimeUnixNano, "end");
        if (BigInt(span.startTimeUnixNano) > BigInt(span.endTimeUnixNano)) wrong("it ends before it begins");
        if (![1, 2, 3, 4, 5].includes(span.kind)) wrong(`kind ${span.kind}`);
        if (![0, 1, 2].includes(span.status?.code ?? 0)) wrong(`status ${span.status.code}`);
        told.push({ ...span, attributes: attributes(span.attributes, "span") });
      }
    }
  }
  return told;
};

createServer((request, response) => {
  let body = "";
  request.on("data", (more) => (body += more));
  request.on("end", () => {
    if (existsSync(`${file}.busy`)) {
      response.writeHead(503).end();
      appendFileSync(`${file}.refused`, "1\n");
      return;
    }
    try {
      if (request.method !== "POST" || request.url !== "/v1/traces" || request.headers["content-type"] !== "application/json") wrong(`${request.method} ${request.url}`);
      for (const span of spans(JSON.parse(body))) appendFileSync(file, `${JSON.stringify(span)}\n`);
      response.writeHead(200, { "Content-Type": "application/json" }).end('{"partialSuccess":{}}');
    } catch (error) {
      appendFileSync(file, `${JSON.stringify({ wrong: `${error.message}`, body })}\n`);
      response.writeHead(400).end();
    }
  });
}).listen(Number(port), "127.0.0.1");
