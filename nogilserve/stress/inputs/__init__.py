"""Where the requests come from: files, an OpenAPI document, the application's own links."""

from nogilserve.stress.inputs.crawl import crawl
from nogilserve.stress.inputs.faults import load_json, read_text
from nogilserve.stress.inputs.har import read_har
from nogilserve.stress.inputs.lists import read_list
from nogilserve.stress.inputs.openapi import from_openapi

__all__ = ["crawl", "from_openapi", "load_json", "read_har", "read_list", "read_text"]
