"""Orders: placing, reading and cancelling them; decides nothing that a script decides."""
