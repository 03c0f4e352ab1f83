"""Rate limits by buyer, by address and by sale: decided before expensive work, never on stock.

Every limit is a GCRA (the generic cell rate algorithm, ITU-T I.371: a leaky bucket that keeps one
instant a subject). Asking Redis about each request would cost every buyer a round trip, and
counting in each process alone would let N processes admit N times the limit. So a limit is divided:

- A **share** of it (`limits.share_percent`) belongs to each process, which spends it from a table
  of fixed size in its own memory. Whoever stays far below the limit, nearly everybody, is never
  seen by Redis: a look and a note cost less than a microsecond.
- The rest is a **common pot** in Redis, one key a subject that expires by itself. Only requests
  above the share ask for it, all of a process in one script call (`lua/limits/take.lua`), the next
  call gathering whoever came during the last. Busy subjects take a *lease*, several units at once,
  and who was refused is refused from memory until there can be a unit again.

One process so holds the limit exactly, in every window: at most `burst` + rate x time. N processes
together admit at most 1 + (N - 1) x share times that. The least that a subject gets is the common
pot: its share may be spent by another whose hash falls together with its own, and units that are
leased and not used for the length of a burst are lost.
Where Redis does not answer, each process goes on with a pot of its own: limits are then held by
each process for itself, and nobody is refused because a limit cannot be looked up.
"""
