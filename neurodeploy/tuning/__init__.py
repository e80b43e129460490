"""Tuning: training the integer program that a network becomes, and choosing its bits."""
