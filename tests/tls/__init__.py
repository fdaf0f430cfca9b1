"""Tests of nogilserve.tls."""
