"""Tests of nogilserve.observe."""
