"""Measuring answers and rankings."""
