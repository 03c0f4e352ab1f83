-- Sales, their items and every change of supply: the merchant's intent, written before Redis acts.

CREATE TABLE sales (
    id text COLLATE "C" PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchants (id),
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('launch', 'preorder', 'draw')),
    state text NOT NULL DEFAULT 'draft'
        CHECK (state IN ('draft', 'scheduled', 'open', 'paused', 'closed', 'cancelled')),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    per_buyer_limit integer NOT NULL CHECK (per_buyer_limit > 0),
    hold_seconds integer NOT NULL CHECK (hold_seconds > 0),
    published_supply boolean NOT NULL DEFAULT false,
    admission jsonb NOT NULL DEFAULT '{"mode": "open"}',
    registration jsonb,
    -- A buyer's lane is a hash modulo this number, so it never changes once lanes exist.
    lanes smallint NOT NULL DEFAULT 1 CHECK (lanes BETWEEN 1 AND 64),
    -- Scripts refuse any other epoch; recovery raises it.
    epoch integer NOT NULL DEFAULT 1 CHECK (epoch > 0),
    -- Shown wherever the sale is: 'relaxed' means that a crash may lose answered reservations.
    durability text NOT NULL DEFAULT 'strict' CHECK (durability IN ('strict', 'relaxed')),
    -- Counts edits; the ETag that If-Match names.
    revision integer NOT NULL DEFAULT 1,
    -- When the lanes were written to Redis, and when they were removed again.
    armed_at timestamptz,
    -- When the merchant or the clock ended it; its records leave Redis some time after that.
    closed_at timestamptz,
    retired_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- A window that ends before it starts would be open for ever or never.
    CHECK (ends_at > starts_at)
);
CREATE INDEX sales_by_merchant ON sales (merchant_id, created_at, id);
-- The public list, whose pages go backwards from the sale that starts last.
CREATE INDEX sales_public ON sales (starts_at, id)
    WHERE state IN ('scheduled', 'open', 'paused', 'closed');
-- The timekeeper and settlement look only at sales whose lanes exist.
CREATE INDEX sales_running ON sales (starts_at)
    WHERE state IN ('scheduled', 'open', 'paused') OR (armed_at IS NOT NULL AND retired_at IS NULL);
-- What the timekeeper looks after; retired sales pile up and must not be read again and again.
CREATE INDEX sales_tended ON sales (id) WHERE retired_at IS NULL AND state <> 'draft';

CREATE TABLE sale_items (
    sale_id text COLLATE "C" NOT NULL REFERENCES sales (id) ON DELETE CASCADE,
    -- The SKU's number in its sale: what scripts and events name it by.
    item integer NOT NULL CHECK (item >= 0),
    sku text NOT NULL,
    name text NOT NULL,
    price_amount bigint NOT NULL CHECK (price_amount >= 0),
    price_currency text NOT NULL CHECK (price_currency ~ '^[A-Z]{3}$'),
    deposit_amount bigint CHECK (deposit_amount BETWEEN 1 AND price_amount),
    ships_at timestamptz,
    capacity bigint NOT NULL CHECK (capacity >= 0),
    live bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (sale_id, item),
    UNIQUE (sale_id, sku),
    -- INV-2, the backstop: whatever Redis believes, no more units are live here than exist.
    CONSTRAINT live_within_capacity CHECK (live BETWEEN 0 AND capacity)
);

CREATE TABLE supplies (
    id text COLLATE "C" PRIMARY KEY,
    sale_id text COLLATE "C" NOT NULL REFERENCES sales (id) ON DELETE CASCADE,
    item integer NOT NULL,
    quantity bigint NOT NULL CHECK (quantity <> 0),
    at timestamptz NOT NULL,
    reason text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'applied', 'refused')),
    -- How the lanes share a cut, fixed before the first is told; NULL: evenly (domain.lanes).
    shares bigint[],
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When `capacity` took it in: for a wave before Redis sells it, for a cut after Redis has.
    applied_at timestamptz,
    FOREIGN KEY (sale_id, item) REFERENCES sale_items (sale_id, item)
);
CREATE INDEX supplies_pending ON supplies (at, id) WHERE state = 'pending';
-- Cuts to be undone: looked for every second, and almost never there.
CREATE INDEX supplies_half_refused ON supplies (id)
    WHERE state = 'refused' AND shares IS NOT NULL;
CREATE INDEX supplies_by_sale ON supplies (sale_id, created_at, id);

-- One row for the whole installation. The secret makes order ids unguessable; it outlives Redis,
-- because a retry after Redis' amnesia has to derive the same order id.
CREATE TABLE engine (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    order_id_secret bytea NOT NULL CHECK (length(order_id_secret) >= 32)
);

CREATE FUNCTION note_end_of_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.closed_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER sale_ended BEFORE UPDATE OF state ON sales
    FOR EACH ROW
    WHEN (NEW.state IN ('closed', 'cancelled') AND OLD.state NOT IN ('closed', 'cancelled'))
    EXECUTE FUNCTION note_end_of_sale();

-- Caches in other processes listen for this instead of polling.
CREATE FUNCTION notify_sale_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sale_changed', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER sale_changed AFTER INSERT OR UPDATE ON sales
    FOR EACH ROW EXECUTE FUNCTION notify_sale_changed();
