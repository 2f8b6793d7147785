// The reviews service in Node: the same answers as its Python twin.
const http = require("node:http");

const version = process.env.VERSION || "v2";
const server = http.createServer((request, response) => {
  const value = request.url === "/healthz" ? "ok" : { version, reviews: [{ item: "anchor", stars: 5, by: "node" }] };
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(value));
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.PORT), process.env.HOST);
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
