"""Tests of nogilserve.supervise."""
