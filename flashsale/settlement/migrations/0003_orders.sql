-- Orders, and what settlement remembers of each lane's stream.

CREATE TABLE orders (
    -- The sale's id and the order hash: a range of ids is a sale, so paging needs no other index.
    id text COLLATE "C" PRIMARY KEY,
    sale_id text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    buyer_id text COLLATE "C" NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_amount bigint NOT NULL CHECK (unit_amount >= 0),
    state text NOT NULL CHECK (state IN ('confirmed', 'paying', 'paid', 'fulfilled', 'refunded',
                                         'expired', 'cancelled', 'rejected')),
    -- The newest event applied; an older one arriving late changes nothing.
    version integer NOT NULL CHECK (version > 0),
    hold_expires_at timestamptz NOT NULL,
    -- Redis' clock when the newest event was decided, and ours when it was settled.
    decided_at timestamptz NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_by_buyer ON orders (buyer_id, sale_id);

CREATE TABLE lanes (
    sale_id text COLLATE "C" NOT NULL REFERENCES sales (id) ON DELETE CASCADE,
    lane smallint NOT NULL CHECK (lane >= 0),
    -- Entry numbers settled, as ranges: adding one twice changes nothing, and a gap can be seen
    -- (INV-6, INV-15).
    settled int8multirange NOT NULL DEFAULT '{}',
    -- The newest stream id settled; a stream that ends before it has lost its tail.
    last_entry_id text NOT NULL DEFAULT '0-0',
    PRIMARY KEY (sale_id, lane)
);

CREATE TABLE dead_letters (
    sale_id text COLLATE "C" NOT NULL REFERENCES sales (id) ON DELETE CASCADE,
    lane smallint NOT NULL,
    seq bigint NOT NULL,
    entry_id text NOT NULL,
    fields jsonb NOT NULL,
    error text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sale_id, lane, entry_id)
);
