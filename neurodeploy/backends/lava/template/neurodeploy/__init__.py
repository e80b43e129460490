"""The part of neurodeploy that this bundle runs: its arithmetic and its neurons, numpy only."""
