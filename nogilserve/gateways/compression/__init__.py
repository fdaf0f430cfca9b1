"""Compression of what an application sends (RFC 9110 §8.4), for both engines."""

from nogilserve.gateways.compression.codecs import codings
from nogilserve.gateways.compression.gateway import AsyncCompressingGateway, CompressingGateway

__all__ = ["AsyncCompressingGateway", "CompressingGateway", "codings"]
