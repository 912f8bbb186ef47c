#!/bin/sh
# A relay: Flower's SuperNode with the ClientApp that passes every call to the socket in /link and holds no data.
# /link (from its agent, party or dealer): agents.sock, socket.key, node.key. /public: ca.crt, trusted.yaml.
set -eu

case ${1:-serve} in
health)
    # Alive, and its role answers the socket: nothing is asked of the SuperLink, whose failures are not the relay's.
    exec python3 -c 'import os, socket
s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(os.environ["FEDGENOME_AGENTS"])
h = socket.create_connection(("127.0.0.1", 9094), 5)'
    ;;
serve) ;;
*) echo "relay: expected serve or health, got $1" >&2; exit 2 ;;
esac

for file in /link/node.key /link/socket.key /public/ca.crt /public/trusted.yaml; do
    [ -s "$file" ] || { echo "relay: waits for $file"; sleep 5; exit 1; } # restarted until it is there
done
umask 077
exec flower-supernode \
    --superlink "${SUPERLINK:-superlink:9092}" \
    --root-certificates /public/ca.crt \
    --auth-supernode-private-key /link/node.key \
    --trusted-entities /public/trusted.yaml \
    --host 127.0.0.1 --port 9094
