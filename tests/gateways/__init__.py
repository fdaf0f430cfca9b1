"""Tests of nogilserve.gateways."""
