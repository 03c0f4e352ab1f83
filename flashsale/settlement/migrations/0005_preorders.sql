-- Pre-orders: who waits in which queue, the lots that serve it, balances, promised dates.

ALTER TABLE supplies
    -- A wave of the cap with a date of its own; without one it counts as the base supply.
    ADD COLUMN ships_at timestamptz;

-- One row an item: whoever changes a queue locks it first and counts its steps, so that what
-- happened to a queue has one order, in which it can be repeated.
CREATE TABLE preorder_queues (
    sale_id text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    step bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (sale_id, item),
    FOREIGN KEY (sale_id, item) REFERENCES sale_items (sale_id, item) ON DELETE CASCADE
);

-- Incoming supply. `free` are its units that no order has.
CREATE TABLE lots (
    id text COLLATE "C" PRIMARY KEY,
    sale_id text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    free bigint NOT NULL,
    reason text NOT NULL,
    step bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (sale_id, item) REFERENCES preorder_queues (sale_id, item) ON DELETE CASCADE,
    -- A unit is given to one order, and comes back once.
    CONSTRAINT free_within_lot CHECK (free BETWEEN 0 AND quantity)
);
CREATE INDEX lots_by_sale ON lots (sale_id, created_at, id);
CREATE INDEX lots_with_room ON lots (sale_id, item, step) WHERE free > 0;

-- An order's stay in a queue, from its paid deposit to its end or to another SKU. Who comes first
-- is told by the money ledger: (received_at, event_id) of the deposit.
CREATE TABLE deposits (
    sale_id text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    joined_step bigint NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    received_at timestamptz NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    -- The part of the cap that the order is in: a supply's id, or '' for the base supply; and the
    -- date that was promised for it then.
    wave text COLLATE "C" NOT NULL DEFAULT '',
    promised_at timestamptz,
    -- Came from another SKU, and so perhaps before somebody who was served already.
    changed boolean NOT NULL DEFAULT false,
    allocated_step bigint,
    allocated_at timestamptz,
    left_step bigint,
    left_for text CHECK (left_for IN ('refunded', 'forfeited', 'changed')),
    joined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sale_id, item, joined_step),
    FOREIGN KEY (sale_id, item) REFERENCES preorder_queues (sale_id, item) ON DELETE CASCADE,
    CHECK (allocated_step > joined_step),
    CHECK (left_step > joined_step),
    CHECK ((left_step IS NULL) = (left_for IS NULL)),
    CHECK ((allocated_step IS NULL) = (allocated_at IS NULL))
);
-- An order waits once, whatever its SKU.
CREATE UNIQUE INDEX deposits_present ON deposits (order_id) WHERE left_step IS NULL;
CREATE INDEX deposits_waiting ON deposits (sale_id, item, received_at, event_id)
    WHERE left_step IS NULL AND allocated_step IS NULL;

-- Which lot an order's units come from; an order of several units may draw on several lots.
-- `place` is the step of the allocation: the order in which the lots were given away.
CREATE TABLE allocations (
    lot_id text COLLATE "C" NOT NULL REFERENCES lots (id) ON DELETE CASCADE,
    place bigint NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    returned_step bigint CHECK (returned_step > place),
    PRIMARY KEY (lot_id, place)
);
CREATE UNIQUE INDEX allocations_present ON allocations (order_id, lot_id)
    WHERE returned_step IS NULL;

-- How many units of each part of the cap are promised.
CREATE TABLE promises (
    sale_id text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    wave text COLLATE "C" NOT NULL,
    units bigint NOT NULL CHECK (units >= 0),
    PRIMARY KEY (sale_id, item, wave),
    FOREIGN KEY (sale_id, item) REFERENCES preorder_queues (sale_id, item) ON DELETE CASCADE
);

-- Every date that was moved, for good. `told_step`: who joined up to there has been notified.
CREATE TABLE ship_dates (
    id text COLLATE "C" PRIMARY KEY,
    sale_id text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    wave text COLLATE "C" NOT NULL DEFAULT '',
    before timestamptz,
    ships_at timestamptz NOT NULL,
    reason text NOT NULL,
    -- Until when those affected may cancel freely.
    free_until timestamptz NOT NULL,
    step bigint NOT NULL,
    told_step bigint NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL,
    FOREIGN KEY (sale_id, item) REFERENCES preorder_queues (sale_id, item) ON DELETE CASCADE
);
CREATE INDEX ship_dates_by_item ON ship_dates (sale_id, item, wave, moved_at);
CREATE INDEX ship_dates_by_sale ON ship_dates (sale_id, moved_at, id);
CREATE INDEX ship_dates_untold ON ship_dates (id) WHERE told_step < step;

-- The rest of the price of an allocated order; `next_at` NULL: nothing is left to do.
CREATE TABLE balances (
    order_id text COLLATE "C" PRIMARY KEY,
    sale_id text COLLATE "C" NOT NULL,
    opens_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    reminded boolean NOT NULL DEFAULT false,
    charges integer NOT NULL DEFAULT 0,
    next_at timestamptz,
    CHECK (opens_at <= due_at AND due_at <= ends_at)
);
CREATE INDEX balances_due ON balances (next_at, order_id) WHERE next_at IS NOT NULL;

-- A buyer's wish for another SKU of the same sale, from the question to the answer.
CREATE TABLE item_changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id text COLLATE "C" NOT NULL,
    item integer NOT NULL,
    state text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'done', 'refused')),
    refusal text,
    -- Who asks Redis holds the lease, and only the last one to take it may write the answer: two
    -- answers to one wish could differ.
    leased_until timestamptz,
    fence integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'refused') = (refusal IS NOT NULL))
);
CREATE UNIQUE INDEX item_changes_asked ON item_changes (order_id) WHERE state = 'asked';

-- Orders that joined or left a queue, for the clock to take up. A launch pays for a comparison
-- an order, and no more.
CREATE TABLE preorder_news (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id text COLLATE "C" NOT NULL,
    sale_id text COLLATE "C" NOT NULL
);

CREATE FUNCTION note_preorder_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever joins holds the order's lock meanwhile, so that none is missed here.
    IF NEW.state = 'deposit_paid'
        OR EXISTS (SELECT FROM deposits WHERE order_id = NEW.id AND left_step IS NULL)
    THEN
        INSERT INTO preorder_news (order_id, sale_id) VALUES (NEW.id, NEW.sale_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER preorder_order_new AFTER INSERT ON orders
    FOR EACH ROW WHEN (NEW.state = 'deposit_paid')
    EXECUTE FUNCTION note_preorder_news();
CREATE TRIGGER preorder_order_changed AFTER UPDATE ON orders
    FOR EACH ROW
    WHEN (NEW.state IN ('deposit_paid', 'refunded', 'forfeited')
        AND (NEW.state <> OLD.state OR NEW.item <> OLD.item))
    EXECUTE FUNCTION note_preorder_news();
