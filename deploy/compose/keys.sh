#!/bin/sh
# Makes the keys of the rig, once; `docker compose down --volumes` forgets them. Whoever made them may not read them
# afterwards, so that what stands there is only looked for.
set -eu
umask 077
cd /keys
if [ ! -s seal.key ]; then
    exhook seal-key new seal.key
    chown 10001:10001 seal.key
fi
if [ ! -s emqx-api.bootstrap ]; then
    rm -f emqx-api.key
    key=$(python3 -c 'import secrets; print("exhook:" + secrets.token_urlsafe(32))')
    echo "$key" > emqx-api.key
    chown 10001:10001 emqx-api.key
    # As EMQX wants it: with the role, and readable by its user.
    echo "$key:administrator" > emqx-api.bootstrap
    chown 1000:1000 emqx-api.bootstrap
fi
