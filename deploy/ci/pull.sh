#!/bin/sh
# Brings a branch of the policy's repository to FOLDER/current, whole or not at all: the files of each commit have a
# folder of their own, and a link is turned. `exhook-sync watch FOLDER/current/policy` sees it, and so does
# `exhook serve --policy`. For a timer on the machine that holds the store; git-sync does the same.
#
#   pull.sh REPOSITORY FOLDER [BRANCH]
set -eu
repository=$1
folder=$2
branch=${3:-main}
bare=$folder/repository

test -d "$bare" || git init --quiet --bare "$bare"
git -C "$bare" fetch --quiet "$repository" "$branch"
commit=$(git -C "$bare" rev-parse FETCH_HEAD)
if ! test -d "$folder/$commit"; then
  rm -rf "$folder/new"  # of a run that was cut off
  git -C "$bare" worktree prune
  git -C "$bare" worktree add --quiet --detach ../new "$commit"
  git -C "$bare" worktree move ../new "../$commit"
fi
ln -sfn "$commit" "$folder/next"
mv -T "$folder/next" "$folder/current"
# Others go after a day, when nobody reads them any more.
find "$folder" -mindepth 1 -maxdepth 1 -type d -mtime +0 ! -name repository ! -name "$commit" \
  -exec git -C "$bare" worktree remove --force {} \;
