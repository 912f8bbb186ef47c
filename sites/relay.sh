#!/bin/sh
# A relay: Flower's SuperNode with the ClientApp that passes every call to the socket in /link and holds no data.
# /link (from its agent, party or dealer): agents.sock, socket.key, node.key. /public: ca.crt, trusted.yaml, study.json.
set -eu

case ${1:-serve} in
health)
    # Alive, and its role knows it. Nothing is asked of the SuperLink, whose failures are not the relay's.
    exec python3 -c 'import os, socket, sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
with open(os.environ["FEDGENOME_AGENTS_KEY_FILE"]) as file:
    key = bytes.fromhex(file.read().strip())
try:
    Client(os.environ["FEDGENOME_AGENTS"], "AF_UNIX", authkey=key).close()
except AuthenticationError:
    sys.exit("relay: /link/socket.key is not the one of the role behind agents.sock: copy it from the state folder")
with socket.socket() as node:
    node.connect(("127.0.0.1", 9094))'
    ;;
serve) ;;
*) echo "relay: expected serve or health, got $1" >&2; exit 2 ;;
esac

# The study comes last, when the SuperLink knows its relays: one that is early is turned away, and starts all over.
for file in /link/node.key /link/socket.key /public/ca.crt /public/trusted.yaml /public/study.json; do
    [ -s "$file" ] || echo "relay: waits for $file"
    until [ -s "$file" ]; do sleep 1; done
done

# Flower starts a SuperExec, and that a process for every message: ours forks it, all imported.
PATH=/opt/fedgenome/quick:$PATH flower-supernode \
    --superlink "$SUPERLINK" \
    --root-certificates /public/ca.crt \
    --auth-supernode-private-key /link/node.key \
    --trusted-entities /public/trusted.yaml \
    --host 127.0.0.1 --port 9094 &
node=$!
trap 'kill "$node"; wait "$node" || true; exit 0' TERM INT
wait "$node" || code=$?
# A SuperLink that still holds the former node for alive, or does not know it yet, turns it away: tried again
# after the 10 seconds past which Docker restarts a container at once.
echo "relay: the SuperNode ended with ${code:-0}; what fits and what does not:"
python3 -m fedgenome.deployment.relay "$SUPERLINK" /public/ca.crt /link/node.key ended &
node=$!
wait "$node" || true
sleep 10 &
wait $!
exit 1
