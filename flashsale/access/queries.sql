-- Merchants, their buyer keys and their API keys (migrations/0001_access.sql).

-- name: create_merchant
-- A merchant with a first buyer key and a first API key: all three or none.
WITH merchant AS (
    INSERT INTO merchants (id, name) VALUES ($1, $2)
), buyer_key AS (
    INSERT INTO merchant_buyer_keys (kid, merchant_id, algorithm, secret) VALUES ($3, $1, $4, $5)
)
INSERT INTO api_keys (id, merchant_id, key_hash, prefix, scope, label, created_at, expires_at)
VALUES ($6, $1, $7, $8, $9, $10, $11, $12);

-- name: load_buyer_keys
-- Every buyer key, oldest first: the newest active one serves tokens that name none.
SELECT kid, merchant_id, algorithm, secret, state
FROM merchant_buyer_keys
ORDER BY created_at, kid;

-- name: add_buyer_key
-- One more buyer key, active at once beside the older ones.
INSERT INTO merchant_buyer_keys (kid, merchant_id, algorithm, secret) VALUES ($1, $2, $3, $4);

-- name: retire_buyer_key
-- Its tokens are refused from the next reload on; retiring twice changes nothing.
UPDATE merchant_buyer_keys
SET state = 'retired', retired_at = coalesce(retired_at, now())
WHERE merchant_id = $1 AND kid = $2
RETURNING kid;

-- name: create_api_key
-- One more API key, by its hash.
INSERT INTO api_keys (id, merchant_id, key_hash, prefix, scope, label, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: find_api_key
-- The API key of a hash, whether it still serves or not.
SELECT id, merchant_id, key_hash, prefix, scope, label, created_at, expires_at, revoked_at
FROM api_keys
WHERE key_hash = $1;

-- name: list_api_keys
-- A merchant's API keys behind a given one, oldest first; from the start where that is null.
SELECT id, merchant_id, key_hash, prefix, scope, label, created_at, expires_at, revoked_at
FROM api_keys
WHERE merchant_id = $1
    AND ($2::text IS NULL OR (created_at, id) > (
        SELECT created_at, id FROM api_keys WHERE merchant_id = $1 AND id = $2
    ))
ORDER BY created_at, id
LIMIT $3;

-- name: revoke_api_key
-- Revoking twice keeps the first instant.
UPDATE api_keys
SET revoked_at = coalesce(revoked_at, now())
WHERE merchant_id = $1 AND id = $2
RETURNING id;
