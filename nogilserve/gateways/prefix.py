"""The path prefix below which a proxy shows an application (`--root-path`).

Proxies do either: pass paths on as the client sent them, or take the prefix off first (nginx with
a slash behind `proxy_pass http://…`, Caddy's `handle_path`, Traefik's StripPrefix). Both work here
without another option: a prefix that is there is recognised, one that is not is not missed.
"""

__all__ = ["below", "raw_rest", "wire_text"]


def wire_text(root_path: str) -> str:
    """The prefix as the paths of requests are written: one latin-1 character per byte."""
    return root_path.encode().decode("latin-1")


def below(prefix: str, path: str) -> str:
    """The part of a decoded path that lies below the prefix; all of it where it does not.

    Only whole segments count: below /shop, "/shop/a" is "/a", "/shop" is "", "/shopping" is itself.
    """
    if path.startswith(prefix):
        rest = path[len(prefix) :]
        if not rest or rest[0] == "/":
            return rest
    return path


def raw_rest(path: str, count: int) -> str:
    """What is left of a path that is still percent-encoded, without its first `count` bytes."""
    at = 0
    for _ in range(count):
        at += 3 if path[at : at + 1] == "%" else 1
    return path[at:]
