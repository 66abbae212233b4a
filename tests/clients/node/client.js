// Calls tools from Node by plain gRPC, without generated code: `node client.js ADDRESS PROTO_FOLDER < cases.json`.
//
// Prints what came back, as JSON, for the test that drives it. docs/clients.md shows the same in short.
'use strict'

const fs = require('fs')
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')
const protobuf = require('protobufjs')

const [address, protos] = process.argv.slice(2)
const contract = grpc.loadPackageDefinition(
  loader.loadSync('snakepit/v1/router.proto', { includeDirs: [protos], keepCase: true, longs: Number, enums: String, oneofs: true, defaults: true })
)
// Where a caller's pod has its token, and the CA of the control plane, if it has TLS: docs/security.md.
const secrets = '/var/run/secrets/snakepit/'
const file = (variable, name) => process.env[variable] ?? (fs.existsSync(secrets + name) ? secrets + name : '')
const ca = file('SNAKEPIT_CA_FILE', 'ca.crt')
const token = file('SNAKEPIT_TOKEN_FILE', 'token')

// The token's file is read for each call: the kubelet replaces it before it expires.
function metadata () {
  const sent = new grpc.Metadata()
  if (token) sent.set('authorization', `Bearer ${fs.readFileSync(token, 'utf8').trim()}`)
  return sent
}

const router = new contract.snakepit.v1.RouterService(address, ca ? grpc.credentials.createSsl(fs.readFileSync(ca)) : grpc.credentials.createInsecure())

const deadline = () => ({ deadline: Date.now() + 20000 })
const execute = (request) =>
  new Promise((resolve, reject) => router.Execute(request, metadata(), deadline(), (error, response) => (error ? reject(error) : resolve(response))))

// ---- the `json` form: a plain value as google.protobuf.Value, and back

function toValue (plain) {
  if (plain === null || plain === undefined) return { nullValue: 'NULL_VALUE' }
  if (Array.isArray(plain)) return { listValue: { values: plain.map(toValue) } }
  if (typeof plain === 'object') return { structValue: toStruct(plain) }
  return { [`${typeof plain}Value`.replace('boolean', 'bool')]: plain }
}

const toStruct = (plain) => ({ fields: Object.fromEntries(Object.entries(plain).map(([key, each]) => [key, toValue(each)])) })

function fromValue (value) {
  if (value.kind === 'nullValue') return null
  if (value.kind === 'listValue') return value.listValue.values.map(fromValue)
  if (value.kind !== 'structValue') return value[value.kind]
  return Object.fromEntries(Object.entries(value.structValue.fields).map(([key, each]) => [key, fromValue(each)]))
}

// ---- the `payload` form: JSON text, and attachments

const toPayload = ({ data, attachments }) => ({
  data: Buffer.from(data),
  attachments: attachments.map((each) => ({ ...each, data: Buffer.from(each.data, 'base64') }))
})

const fromPayload = ({ data, attachments, warnings }) => ({
  data: data.toString(),
  attachments: attachments.map(({ data, dtype, shape }) => ({ data: data.toString('base64'), dtype, shape })),
  warnings
})

// ---- errors: google.rpc.Status in the trailers

const { root } = protobuf.parse(`syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }`, { keepCase: true })

function errorInfo (error) {
  const status = root.lookupType('Status').decode(error.metadata.get('grpc-status-details-bin')[0])
  const detail = status.details.find((each) => each.type_url.endsWith('google.rpc.ErrorInfo'))
  const { reason, domain, metadata } = root.lookupType('ErrorInfo').decode(detail.value)
  return { code: error.code, reason, domain, metadata: { ...metadata } }
}

// ---- what the test asks for

async function roundTrip ({ pool, tool, json, payload }) {
  if (payload === undefined) {
    const response = await execute({ pool, tool, json: toStruct(json) })
    return { json: fromValue(response.json), warnings: response.warnings }
  }
  return fromPayload((await execute({ pool, tool, payload: toPayload(payload) })).payload)
}

async function stream ({ pool, to }) {
  const chunks = []
  const request = { pool, tool: 'count', payload: { data: Buffer.from(JSON.stringify({ to })) } }
  for await (const message of router.ExecuteStream(request, metadata(), deadline())) {
    if (message.outcome === 'payload') chunks.push(JSON.parse(message.payload.data))
  }
  return chunks
}

// Node's own types: a typed array as an attachment, and the array that comes back.
async function typedArray (pool) {
  const sent = Float32Array.of(1.5, NaN, -Infinity)
  const attachment = { content_type: 'application/x-ndarray', data: Buffer.from(sent.buffer), dtype: '<f4', shape: [sent.length] }
  const payload = { data: Buffer.from('{"value":{"$attachment":0}}'), attachments: [attachment] }
  const { data } = (await execute({ pool, tool: 'echo', payload })).payload.attachments[0]
  return Array.from(new Float32Array(new Uint8Array(data).buffer), String)
}

async function main () {
  const { pool, cases, to } = JSON.parse(fs.readFileSync(0))
  const results = {}
  for (const [name, each] of Object.entries(cases)) results[name] = await roundTrip({ pool, ...each })
  const failed = await execute({ pool, tool: 'fail', json: { fields: {} } })
  const refused = await execute({ pool, tool: 'ecko', json: { fields: {} } }).catch(errorInfo)
  const { type, message } = failed.tool_error
  process.stdout.write(
    JSON.stringify({ results, chunks: await stream({ pool, to }), array: await typedArray(pool), failed: { type, message }, refused })
  )
  router.close()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
