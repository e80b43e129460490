"""Reports: pure functions from runs to numbers and pages. The only place where joules appear."""
