// The official client in TypeScript before 2026-07-28: node client.mjs URL
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
const client = new Client({ name: "test", version: "1" });
await client.connect(transport);
const call = (name, given = {}, options = undefined) => client.callTool({ name, arguments: given }, undefined, options);

const tools = (await client.listTools()).tools.map((each) => each.name);
const { session } = (await call("open_session")).structuredContent;
await call("remember", { value: "tea", session });
const recalled = (await call("recall", { session })).structuredContent;
const progress = [];
await call("test_tool_with_progress", {}, { onprogress: (each) => progress.push(each.progress) });
const wrong = (await call("point", { x: "three" })).isError;
console.log(JSON.stringify({ version: transport.protocolVersion, tools, recalled, progress, wrong }));
await client.close();
