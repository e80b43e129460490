"""The float graph: what was trained, the rules it keeps, and what it means."""
