"""Tests of `nogilserve stress`."""
