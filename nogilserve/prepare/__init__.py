"""What is done to an application once, when it is imported and started and nobody has asked yet.

Warm-up requests on every core, references that threads count without disturbing each other, and
when garbage is collected. Knows no engine: a core is something that connections are made to.
"""

from nogilserve.prepare.collecting import FROZEN
from nogilserve.prepare.deferring import AVAILABLE
from nogilserve.prepare.immortal import IMMORTAL
from nogilserve.prepare.plan import NOTHING, STEPS, Ask, Plan
from nogilserve.prepare.preparation import Preparation

__all__ = ["AVAILABLE", "FROZEN", "IMMORTAL", "NOTHING", "STEPS", "Ask", "Plan", "Preparation"]
