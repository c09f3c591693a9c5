"""Detectors as data: read packs, run them, check their cases, print their catalogue."""
