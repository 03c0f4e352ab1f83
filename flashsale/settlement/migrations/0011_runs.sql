-- Runs of Redis: what a server holds after a restart is not believed until it is rebuilt.

-- The run of Redis in which all lanes of the sale were written; another one never had them.
ALTER TABLE sales ADD COLUMN redis_run text;

-- The newest entry that was left when the lane was last rebuilt: who was answered with a later one
-- knows of orders that are lost.
ALTER TABLE lanes ADD COLUMN survived_seq bigint NOT NULL DEFAULT 0;
