"""The routing table: hosts and paths to rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.sites.gateway import Found
from nogilserve.sites.table import NO_HOST, NO_PATH, Place, Router, host_of

ROUTER = Router(
    [
        Place(0, ("example.com", "www.example.com")),
        Place(1, ("example.com",), "/api"),
        Place(2, ("example.com",), "/api/v2"),
        Place(3, ("*.example.com",), "/only"),
        Place(4, (), "/health", exact=True),
        Place(5, (), "/"),
        Place(6, ("example.com",), "/grün"),
        Place(7, ("[::1]",)),
    ]
)


@pytest.mark.parametrize(
    ("authority", "path", "row"),
    [
        ("example.com", "/", 0),
        ("EXAMPLE.com:8443", "/", 0),
        ("example.com.", "/x/y/z", 0),
        ("www.example.com", "/api", 0),
        ("example.com", "/api", 1),
        ("example.com", "/api/", 1),
        ("example.com", "/api/v1/v2", 1),
        ("example.com", "/apis", 0),
        ("example.com", "//api", 0),
        ("example.com", "/api/v2", 2),
        ("example.com", "/api/v2/x", 2),
        ("example.com", "/%61pi/x", 1),
        ("example.com", "/api%2Fv2", 2),
        ("example.com", "/gr%C3%BCn/x", 6),
        ("example.com", "*", 0),
        ("shop.example.com", "/only/x", 3),
        ("shop.example.com", "/", NO_PATH),
        ("a.shop.example.com", "/only", 5),
        (".example.com", "/only", 5),
        ("elsewhere", "/health", 4),
        ("elsewhere", "/health/", 5),
        ("", "/", 5),
        ("[::1]:80", "/", 7),
    ],
)
def test_finds_the_row(authority: str, path: str, row: int) -> None:
    """Exact names before wildcards before the rest; the longest path of whole segments."""
    assert ROUTER.find(authority, path) == row
    found = Found(ROUTER)
    assert [found.index(authority, path) for _ in range(2)] == [row, row]


def test_unknown_hosts_have_no_row() -> None:
    """Without rows for other hosts a host that nobody names is told apart from a missing path."""
    router = Router([Place(0, ("a.test",), "/x")])
    assert router.find("b.test", "/x") == NO_HOST
    assert router.find("a.test", "/y") == NO_PATH


def test_hosts_do_not_matter_where_no_row_names_one() -> None:
    """`--mount` alone never looks at the host."""
    router = Router([Place(0, (), "/api"), Place(1, (), "/")])
    assert not router.by_host
    assert router.find("whatever", "/api/x") == 0


def test_what_clients_invent_is_not_kept_without_end() -> None:
    """The memory of hosts is bounded, and what is not remembered is found all the same."""
    found = Found(ROUTER)
    for number in range(3000):
        assert found.index(f"host-{number}.test", "/") == 5
    assert found.index("example.com", "/api") == 1


@given(
    st.lists(st.sampled_from(["a", "b", "c", "", "%61"]), max_size=6),
    st.sets(st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/b"])),
)
def test_longest_path_wins(segments: list[str], paths: set[str]) -> None:
    """The look-up gives what trying every path would give."""
    ordered = sorted(paths)
    router = Router(Place(index, (), path) for index, path in enumerate(ordered))
    asked = "/" + "/".join(segments)
    decoded = asked.replace("%61", "a")
    below = [path for path in ordered if path == "/" or f"{decoded}/".startswith(f"{path}/")]
    wanted = ordered.index(max(below, key=len)) if below else NO_PATH
    if not ordered:
        wanted = NO_HOST
    assert router.find("any", asked) == wanted


@pytest.mark.parametrize(
    ("authority", "host"),
    [("A.b:1", "a.b"), ("[::1]:2", "[::1]"), ("[::1]", "[::1]"), ("a.", "a"), ("", "")],
)
def test_host_of_an_authority(authority: str, host: str) -> None:
    """Lower case, no port, no final dot."""
    assert host_of(authority) == host
