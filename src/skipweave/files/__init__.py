"""Files written, locked and read safely."""
