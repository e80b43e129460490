"""Targets and price tables: TOML files read into checked, frozen records."""

from neurodeploy.targets.find import price_names, prices, target, target_names
from neurodeploy.targets.prices import Prices
from neurodeploy.targets.schema import Target

__all__ = ["Prices", "Target", "price_names", "prices", "target", "target_names"]
