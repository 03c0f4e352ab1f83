-- Outbound webhooks: endpoints, events in the order of each order, deliveries.

SELECT 1;
