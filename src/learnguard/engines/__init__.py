"""Engines: where a detector's SQL runs. Each gives the same answers; they differ in where the rows are."""
