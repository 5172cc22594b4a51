"""What lets recorded decisions be computed again: the journal, what writes it and what reads it."""
