#!/bin/bash
# Installs the Debian packages that the tests need and that are missing, as root. Names given as arguments are left out; the table
# is test-packages.txt. Services are kept from starting by the policy file that Debian's maintainer scripts ask; what was there
# before is put back.
set -euo pipefail

table="$(dirname "$0")/test-packages.txt"
policy=/usr/sbin/policy-rc.d

missing=()
while read -r name command packages; do
  case "$name" in '' | '#'*) continue ;; esac
  case " $* " in *" $name "*) continue ;; esac
  command -v "$command" >/dev/null || missing+=($packages)
done <"$table"
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

restore() {
  rm -f "$policy"
  if [ -n "$kept" ]; then cp -a "$kept/policy-rc.d" "$policy"; rm -rf "$kept"; fi
}
kept=
if [ -e "$policy" ]; then
  kept="$(mktemp -d)"
  cp -a "$policy" "$kept/policy-rc.d"
fi
trap restore EXIT
trap 'exit 1' INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=300 update
apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends -y "${missing[@]}" >/dev/null
