#!/bin/sh
# Publishes what is in force, without secrets, as the branch `snapshot` of the policy's repository, which holds nothing
# else and has no history: merge requests are planned against it. For a timer on the machine that holds the store.
#
#   publish-snapshot.sh CHECKOUT [DB]
set -eu
checkout=$1
db=${2:-/var/lib/exhook/exhook.db}

file=$(mktemp)
trap 'rm -f "$file"' EXIT
exhook-sync snapshot --db "$db" --output "$file" --quiet
cd "$checkout"
blob=$(git hash-object -w "$file")
tree=$(printf '100644 blob %s\tproduction.snapshot\n' "$blob" | git mktree)
commit=$(git commit-tree -m "What is in force" "$tree")
git push --quiet --force origin "$commit:refs/heads/snapshot"
