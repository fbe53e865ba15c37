#!/bin/sh
# Makes the keys of the rig, once; `docker compose down --volumes` forgets them.
set -eu
umask 077
cd /keys
[ -s seal.key ] || exhook seal-key new seal.key
if [ ! -s emqx-api.secret ]; then
    python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > emqx-api.secret
fi
printf 'exhook:%s:administrator\n' "$(cat emqx-api.secret)" > emqx-api.bootstrap
# The server reads the first two; EMQX, as its own user, the last.
chown 10001:10001 seal.key emqx-api.secret
chown 1000:1000 emqx-api.bootstrap
