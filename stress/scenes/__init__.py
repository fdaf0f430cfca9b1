"""Scenes: small plays of the engine, each about one bad interleaving."""

from stress.scenes.http2 import SCENES as HTTP2
from stress.scenes.loops import SCENES as LOOPS
from stress.scenes.reload import SCENES as RELOAD
from stress.scenes.scene import Scene
from stress.scenes.threads import SCENES as THREADS
from stress.scenes.tls import SCENES as TLS

__all__ = ["SCENES", "Scene"]

SCENES: dict[str, Scene] = {
    scene.name: scene for scene in (*THREADS, *HTTP2, *TLS, *LOOPS, *RELOAD)
}
"""All of them, by name."""
