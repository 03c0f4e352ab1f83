-- Merchants, and the keys that they and their buyers are known by.

CREATE TABLE merchants (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE merchant_buyer_keys (
    -- Named in the header of a token, where no merchant is known yet: unique across merchants.
    kid text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL REFERENCES merchants (id),
    -- The only two that the token check knows; a third would refuse every buyer.
    algorithm text NOT NULL CHECK (algorithm IN ('HS256', 'EdDSA')),
    -- An HS256 secret of at least the hash's length (RFC 7518, 3.2), or an Ed25519 public key.
    -- In clear: checking an HMAC takes the secret itself.
    secret bytea NOT NULL CHECK (octet_length(secret) >= 32),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'retired')),
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    -- A retired key stays, so that its tokens are refused at once and without a look-up.
    CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
CREATE INDEX merchant_buyer_keys_by_merchant ON merchant_buyer_keys (merchant_id);

CREATE TABLE api_keys (
    id text COLLATE "C" PRIMARY KEY,
    merchant_id text COLLATE "C" NOT NULL REFERENCES merchants (id),
    -- SHA-256 in hex. A key in clear, put here by mistake, does not fit.
    key_hash text COLLATE "C" NOT NULL UNIQUE CHECK (key_hash ~ '^[0-9a-f]{64}$'),
    -- Enough to tell keys apart in a list, and no more of the key than that.
    prefix text NOT NULL CHECK (length(prefix) = 11),
    scope text NOT NULL CHECK (scope IN ('read', 'manage', 'admin')),
    label text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    -- A key that was never good is a mistake in its expiry.
    CHECK (expires_at > created_at)
);
CREATE INDEX api_keys_by_merchant ON api_keys (merchant_id, created_at, id);
