"""Tests of nogilserve.protocols.proxy."""
