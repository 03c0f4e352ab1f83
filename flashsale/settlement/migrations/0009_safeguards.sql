-- What the engine stops by itself: one SKU whose equations are broken, a sale that may not be kept.

ALTER TABLE sale_items
    -- Set while nobody may reserve this SKU; Redis is told after this is written.
    ADD COLUMN shut_at timestamptz,
    -- Which equation was broken, with both its sides.
    ADD COLUMN shut_reason text,
    ADD CONSTRAINT shut_with_a_reason CHECK ((shut_at IS NULL) = (shut_reason IS NULL));

-- Why the engine has paused a sale; NULL where a merchant did, and once it is no longer paused.
ALTER TABLE sales ADD COLUMN paused_reason text;

CREATE FUNCTION forget_why_paused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.paused_reason := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER paused_no_longer BEFORE UPDATE OF state ON sales
    FOR EACH ROW WHEN (NEW.state <> 'paused' AND OLD.paused_reason IS NOT NULL)
    EXECUTE FUNCTION forget_why_paused();

-- Counted every few seconds, and almost never there.
CREATE INDEX sale_items_shut ON sale_items (sale_id) WHERE shut_at IS NOT NULL;
