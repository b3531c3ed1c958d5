#!/bin/sh
# Make what is secret, once, into deploy/secrets (or the folder named): keys, a password for Grafana, and the settings
# with the keys' hashes. What is there already stays as it is.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-"$here/secrets"}
umask 077
mkdir -p "$out/settings"
made() { head -c 32 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_' | tr -d '='; }
keep() { [ -s "$out/$1" ] || printf '%s' "$2" >"$out/$1"; }
hash_of() { sha256sum <"$out/$1" | cut -d ' ' -f 1; }
keep caller.key "pm-$(made)"
keep prometheus.key "pm-$(made)"
keep grafana.password "$(made)"
keep pointsman.env "FLEET_ADMIN_KEY=$(made)"
settings="$out/settings/pointsman.yaml" # in a folder of its own, which is what is mounted
if [ ! -s "$settings" ]; then
    sed -e "s/CALLER_SHA256/$(hash_of caller.key)/" -e "s/PROMETHEUS_SHA256/$(hash_of prometheus.key)/" \
        "$here/compose/pointsman.yaml" >"$settings"
fi
# Their containers run as other users, who must be able to read these.
chmod 755 "$out/settings"
chmod 644 "$settings" "$out/prometheus.key" "$out/grafana.password"
chmod 711 "$out"
echo "made in $out; callers use the key in caller.key, operators the one in pointsman.env"
