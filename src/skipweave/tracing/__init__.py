"""What a given network does with its maps, found by running copies of it."""
