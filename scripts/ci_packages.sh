#!/bin/sh
# What some tests use if it is there and skip if it is not, from the distribution's packages: as root, with apt, for
# some minutes at most. Never fails: whoever lacks a program skips its tests.
#   chromium     the console's tests drive it
#   prometheus   the rules are tested with its promtool
set -u
PACKAGES="chromium prometheus"
missing=""
for package in $PACKAGES; do
    command -v "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, its tests are skipped:$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # a list of words
timeout 240 sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing" >/dev/null 2>&1 ||
    echo "could not be installed in time, its tests are skipped:$missing" >&2
exit 0
