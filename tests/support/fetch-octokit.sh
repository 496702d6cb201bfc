#!/bin/sh
# Installs the payloads of npm's @octokit/webhooks-examples into a cache outside the repository and
# prints the path for DEVPULSE_TEST_OCTOKIT.
set -eu
version=7.6.1
cache="${XDG_CACHE_HOME:-$HOME/.cache}/devpulse-tests/octokit-$version"
index="$cache/node_modules/@octokit/webhooks-examples/api.github.com/index.json"
if [ ! -s "$index" ]; then
    command -v npm >/dev/null || { echo "npm is needed for the payloads of @octokit/webhooks-examples" >&2; exit 1; }
    mkdir -p "$cache"
    npm install --silent --no-audit --no-fund --prefix "$cache" "@octokit/webhooks-examples@$version" >&2
fi
printf '%s\n' "$index"
