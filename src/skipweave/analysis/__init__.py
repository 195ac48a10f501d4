"""Looking at networks: what they cost, how they are linked, and whether they are the ones that were published."""
