// The stock service in Node: Bolt frames by hand, the same answers as its Python twin.
const net = require("node:net");

const SERVICE = "shop.Stock:1.0";
const AMOUNTS = { anchor: 3, compass: 7, rope: 12, sextant: 1 };
const RESPONSE_CLASS = Buffer.from("com.alipay.sofa.rpc.core.response.SofaResponse");
const HEAD = 22;
const version = process.env.VERSION || "v2";

function readMap(data) {
  const texts = [];
  for (let at = 0; at + 4 <= data.length; ) {
    const length = Math.max(data.readInt32BE(at), 0);
    texts.push(data.toString("utf8", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return Object.fromEntries(texts.flatMap((text, index) => (index % 2 ? [] : [[text, texts[index + 1]]])));
}

function reply(command, request, status, name, content) {
  const head = Buffer.alloc(20);
  head.writeUInt8(1, 0);
  head.writeUInt16BE(command, 2);
  head.writeUInt8(1, 4);
  request.copy(head, 5, 5, 10); // id and codec
  head.writeUInt16BE(status, 10);
  head.writeUInt16BE(name.length, 12);
  head.writeUInt32BE(content.length, 16);
  return Buffer.concat([head, name, content]);
}

function answer(request, map, content) {
  const headers = readMap(map);
  if (headers.service !== SERVICE || headers.sofa_head_method_name !== "count") {
    return reply(2, request, 6, RESPONSE_CLASS, Buffer.alloc(0));
  }
  const [item] = JSON.parse(content);
  const value = { version, item, left: AMOUNTS[item] ?? 0, by: "node" };
  return reply(2, request, 0, RESPONSE_CLASS, Buffer.from(JSON.stringify(value)));
}

const connections = new Set();
const server = net.createServer((connection) => {
  let unread = Buffer.alloc(0);
  connections.add(connection.setNoDelay());
  connection.on("error", () => connection.destroy());
  connection.on("close", () => connections.delete(connection));
  connection.on("data", (piece) => {
    unread = Buffer.concat([unread, piece]);
    while (unread.length >= HEAD) {
      const mapAt = HEAD + unread.readUInt16BE(14);
      const contentAt = mapAt + unread.readUInt16BE(16);
      const end = contentAt + unread.readUInt32BE(18);
      if (unread.length < end) return;
      const isHeartbeat = unread.readUInt16BE(2) === 0;
      const isOneWay = unread.readUInt8(1) === 2;
      const frame = isHeartbeat
        ? reply(0, unread, 0, Buffer.alloc(0), Buffer.alloc(0))
        : answer(unread, unread.subarray(mapAt, contentAt), unread.subarray(contentAt, end));
      if (!isOneWay) connection.write(frame);
      unread = unread.subarray(end);
    }
  });
});
server.listen(Number(process.env.PORT), process.env.HOST);
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  for (const connection of connections) connection.end();
});
