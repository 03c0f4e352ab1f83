-- Recovery: what was rebuilt, why and how fast, and what no disk remembers any more.

ALTER TABLE lanes
    -- Entry numbers that Redis lost before they were settled: accounted for, and gone (INV-15).
    ADD COLUMN lost int8multirange NOT NULL DEFAULT '{}',
    -- The newest entry number ever seen in Redis; one that has fewer was put back in time.
    ADD COLUMN seen_seq bigint NOT NULL DEFAULT 0,
    -- Entries of an earlier epoch were drained, or are lost: who holds one settles it no more.
    ADD COLUMN drained_epoch integer NOT NULL DEFAULT 0;

-- Whether Redis has lost something of this sale: a buyer whose order is nowhere is told so.
ALTER TABLE sales ADD COLUMN may_have_lost boolean NOT NULL DEFAULT false;

CREATE TABLE recoveries (
    sale_id text COLLATE "C" NOT NULL REFERENCES sales (id) ON DELETE CASCADE,
    -- The epoch that the lanes were opened with again.
    epoch integer NOT NULL,
    reason text NOT NULL,
    step text NOT NULL DEFAULT 'sealing'
        CHECK (step IN ('sealing', 'draining', 'rebuilding', 'opened')),
    -- How long each step took, in milliseconds, over all attempts.
    took_ms jsonb NOT NULL DEFAULT '{}',
    orders bigint NOT NULL DEFAULT 0,
    live_units bigint NOT NULL DEFAULT 0,
    entries_lost bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    opened_at timestamptz,
    PRIMARY KEY (sale_id, epoch),
    CHECK ((step = 'opened') = (opened_at IS NOT NULL))
);
-- A sale is rebuilt once at a time; what was begun is gone on with.
CREATE UNIQUE INDEX recoveries_under_way ON recoveries (sale_id) WHERE step <> 'opened';
