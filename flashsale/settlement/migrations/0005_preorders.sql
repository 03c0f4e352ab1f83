-- Pre-orders: lots, allocations, balances and promised dates.

SELECT 1;
