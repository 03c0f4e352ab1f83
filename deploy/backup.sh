#!/bin/sh
# Takes one copy of Postgres into a folder, as one file that pg_restore reads, and checks it.
# Redis is not copied: docs/recovery.md says why. Run it from a timer, and keep copies elsewhere.
#
#   FLASHSALE_POSTGRES_DSN=postgresql://… deploy/backup.sh /srv/backups
set -eu

folder=${1:?name the folder that copies go to}
: "${FLASHSALE_POSTGRES_DSN:?set it to the address of Postgres}"
copy="$folder/flashsale-$(date -u +%Y%m%dT%H%M%SZ).dump"

umask 077  # keys and buyers are in it
pg_dump --format=custom --no-owner --file="$copy.part" "$FLASHSALE_POSTGRES_DSN"
pg_restore --list "$copy.part" >/dev/null
mv "$copy.part" "$copy"  # whoever finds the name finds it whole
echo "$copy"
