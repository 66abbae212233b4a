#!/bin/sh
# Notes over HTTP, with curl and nothing of Snakepit's: `examples/notes/with-pool examples/notes/over-http.sh`.
set -eu
pool=${URL:-http://localhost:7880}/v1/pools/default/notes

post() { # TOOL ARGUMENTS [OPTION...]
    tool=$1 arguments=$2
    shift 2
    curl -sSN --fail-with-body "$@" --json "$arguments" "$pool/tools/$tool"
    echo
}

echo "A session, and two notes in it; whoever names it goes on with them:"
curl -sS --fail-with-body -o /dev/null -X PUT "$pool/sessions/shopping"
post add '{"text": "milk"}' -H 'Snakepit-Session: shopping'
post add '{"text": "eggs"}' -H 'Snakepit-Session: shopping'

echo "A stream, a line a piece:"
post read '{}' -H 'Snakepit-Session: shopping' -H 'Accept: application/x-ndjson'

echo "How far a report is, as events:"
post report '{"pages": 3}' -H 'Accept: text/event-stream'

echo "What is wrong with a call, as a problem (RFC 9457):"
post report '{"pages": "many"}' || :
