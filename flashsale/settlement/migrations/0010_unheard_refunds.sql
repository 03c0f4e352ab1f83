-- Refunds that a provider has taken: those of which nothing is heard are asked about.

CREATE INDEX refunds_under_way ON refunds (created_at) WHERE state = 'sent';
