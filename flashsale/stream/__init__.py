"""Stream: from the events that scripts append to the batches that settlement applies."""
