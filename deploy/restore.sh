#!/bin/sh
# Puts a copy that backup.sh took into an empty database; with anything in it, it refuses.
# Stop every process first, and recover each running sale afterwards: docs/recovery.md.
#
#   FLASHSALE_POSTGRES_DSN=postgresql://… deploy/restore.sh /srv/backups/flashsale-….dump
set -eu

copy=${1:?name the copy}
: "${FLASHSALE_POSTGRES_DSN:?set it to the address of an empty database}"

tables=$(psql --no-psqlrc --tuples-only --no-align "$FLASHSALE_POSTGRES_DSN" \
    --command "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
if [ "$tables" -ne 0 ]; then
    echo "The database holds $tables tables already: restore into an empty one." >&2
    exit 2
fi
pg_restore --exit-on-error --single-transaction --no-owner \
    --dbname="$FLASHSALE_POSTGRES_DSN" "$copy"
