"""Static files: what is served below a route instead of the application's answer.

`names_of` and `Folder` find files and refuse everything else, `answer_file` decides what of a
file is sent, `Site` puts the two together, and the gateways send it, each for its engine.
"""

from nogilserve.gateways.static.gateway import AsyncStaticGateway, StaticGateway
from nogilserve.gateways.static.site import Site, StaticRules

__all__ = ["AsyncStaticGateway", "Site", "StaticGateway", "StaticRules"]
