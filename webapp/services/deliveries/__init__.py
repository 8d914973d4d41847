"""What became of everything owed: the list and its filters, one in full, and the proof."""
