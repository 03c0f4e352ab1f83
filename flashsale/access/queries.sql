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
-- Every buyer key, oldest first: the newest active one serves tokens that name none. One whose
-- announced retirement has come is retired, whether or not anybody has written that down.
SELECT
    kid, merchant_id, algorithm, secret,
    CASE WHEN retires_at <= now() THEN 'retired' ELSE state END AS state
FROM merchant_buyer_keys
ORDER BY created_at, kid;

-- name: add_buyer_key
-- One more buyer key, active at once beside the older ones.
INSERT INTO merchant_buyer_keys (kid, merchant_id, algorithm, secret, label)
VALUES ($1, $2, $3, $4, $5) RETURNING created_at;

-- name: lock_merchant
-- Changes of a merchant's buyer keys take turns; rows that refer to the merchant do not wait.
SELECT id FROM merchants WHERE id = $1 FOR NO KEY UPDATE;

-- name: merchant_name
-- What a merchant is called.
SELECT name FROM merchants WHERE id = $1;

-- name: list_buyer_keys
-- A merchant's buyer keys, oldest first, without what is secret: only of an Ed25519 key is the
-- public half told.
SELECT
    kid, algorithm, label, created_at, retires_at, retired_at,
    CASE WHEN algorithm = 'EdDSA' THEN secret END AS public_key,
    CASE
        WHEN state = 'retired' OR retires_at <= now() THEN 'retired'
        WHEN retires_at IS NOT NULL THEN 'retiring'
        ELSE 'active'
    END AS state
FROM merchant_buyer_keys
WHERE merchant_id = $1
ORDER BY created_at, kid;

-- name: retire_buyer_key
-- At an instant, or at once where that is null or has come: its tokens are refused from the next
-- reload on. A retirement is never put off, and retiring twice changes nothing.
UPDATE merchant_buyer_keys
SET
    retires_at = least(retires_at, coalesce($3, now())),
    retired_at = CASE WHEN coalesce($3, now()) <= now() THEN coalesce(retired_at, now())
        ELSE retired_at END,
    state = CASE WHEN coalesce($3, now()) <= now() THEN 'retired' ELSE state END
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
