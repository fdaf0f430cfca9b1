"""Automatic HTTPS: certificates obtained and renewed by ACME (RFC 8555).

All of it runs in a process of its own, the keeper, never in one that serves.
"""
