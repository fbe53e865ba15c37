#!/bin/sh
# Makes the keys of the rig, once; `docker compose down --volumes` forgets them.
set -eu
umask 077
cd /keys
[ -s seal.key ] || exhook seal-key new seal.key
if [ ! -s emqx-api.key ]; then
    python3 -c 'import secrets; print("exhook:" + secrets.token_urlsafe(32))' > emqx-api.key
fi
# As EMQX wants it: with the role, and readable by its user.
sed 's/$/:administrator/' emqx-api.key > emqx-api.bootstrap
chown 10001:10001 seal.key emqx-api.key
chown 1000:1000 emqx-api.bootstrap
