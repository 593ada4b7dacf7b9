"""Running a network again and again: runs, chunks, tails, masks, samplers, caught attention."""
