// The official client in TypeScript: node client.mjs URL auto|legacy
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, mode] = process.argv.slice(2);
const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const call = (name, given = {}, options = undefined) => client.callTool({ name, arguments: given }, options);

const tools = (await client.listTools()).tools.map((each) => each.name);
const { session } = (await call("open_session")).structuredContent;
await call("remember", { value: "tea", session });
const recalled = (await call("recall", { session })).structuredContent;
const progress = [];
await call("test_tool_with_progress", {}, { onprogress: (each) => progress.push(each.progress) });
const wrong = (await call("point", { x: "three" })).isError;
console.log(JSON.stringify({ version: client.getNegotiatedProtocolVersion(), tools, recalled, progress, wrong }));
await client.close();
