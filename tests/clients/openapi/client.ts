// Calls the pool `front` with a client that openapi-typescript has made types for: node client.js URL
import createClient from "openapi-fetch";
import type { paths } from "./front.js";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });

const doubled = await client.POST("/v1/pools/default/front/tools/steps", { body: { count: 2 } });
const steps: number | undefined = doubled.data;

const both = await client.POST("/v1/pools/default/front/tools/both", {});

// @ts-expect-error: `count` is a number
await client.POST("/v1/pools/default/front/tools/steps", { body: { count: "two" } });

const wrong = await client.POST("/v1/pools/default/front/tools/broken", {});
const reason: string | undefined = wrong.error?.reason;

const params = { path: { session: "typed" } };
const made = await client.PUT("/v1/pools/default/front/sessions/{session}", { params });
const workers = await client.GET("/v1/pools/default/front/workers", { params: { query: { limit: 1 } } });

const seen = { steps, both: both.data, reason, session: made.data?.id, state: workers.data?.items[0]?.state };
console.log(JSON.stringify(seen));
