"""Tests of `nogilserve.protocols.tls`."""
