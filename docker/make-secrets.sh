#!/bin/sh
# Makes the secrets that compose.yaml mounts, each only if it is not there yet.
#
#   docker/make-secrets.sh [DIRECTORY]
#
# The directory is closed to other users; the files in it must be readable to the containers' user, which is not yours.
set -eu
directory=${1:-${VERIPHOTO_SECRETS:-var/secrets}}
mkdir -p "$directory"
chmod 700 "$directory"
umask 022

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

make() { # NAME CONTENT
    [ -e "$directory/$1" ] || printf '%s' "$2" >"$directory/$1"
}

make triton_admin_key "$(random)"
make grafana_password "$(random)"
make metrics_key "$(random)"
page=$(random)
# The callers that this set-up brings along; add a line `name=key` for each of your own.
make api_keys "page=$page
prometheus=$(cat "$directory/metrics_key")
"
make page.env "VERIPHOTO_API_KEY=$(sed -n 's/^page=//p' "$directory/api_keys")
"
