"""Help, docs/options.md and --print-config come from the declarations."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nogilserve.config import (
    help_text,
    load,
    options_document,
    resolve,
    settings_document,
)
from nogilserve.config.options import OPTIONS
from nogilserve.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
NOWHERE = ROOT / "no such directory"


def test_options_document_is_up_to_date() -> None:
    """docs/options.md is what `python -m nogilserve.config` writes."""
    assert options_document() == (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


def test_every_option_is_in_the_help() -> None:
    """The help names each spelling of each option and its default."""
    text = help_text()
    for option in OPTIONS:
        for flag in option.flags:
            assert flag in text
    assert "[default: 2048]" in text
    assert "--no-server-header turns it off" in text
    assert "%>s" in text


def test_no_spelling_is_used_twice() -> None:
    """Each flag, with its --no- form, belongs to one option; field names are unique too."""
    flags = [flag for option in OPTIONS for flag in option.flags]
    flags += [f"--no-{n}" for o in OPTIONS if o.is_flag and o.scope == "all" for n in o.names]
    assert len(flags) == len(set(flags))
    assert len(OPTIONS) == len({option.field for option in OPTIONS})


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Whoever reads the output over somebody's shoulder learns that they are set."""
    document = settings_document(
        resolve(
            ["m:app", "--admin=127.0.0.1:0", "--admin-token=confidential-words", "--env=A=hush"],
            {},
            tmp_path,
            4,
        )
    )
    assert "# admin-token is set, and not shown" in document
    assert "confidential" not in document
    assert "hush" not in document


def test_mistyped_secrets_are_not_shown(tmp_path: Path) -> None:
    """What is wrong is said without what was written: it is in logs, and nearly the secret."""
    with pytest.raises(ConfigError) as caught:
        resolve(["m:app"], {"NOGILSERVE_ADMIN_TOKEN": "hush hush and so on"}, tmp_path, 4)
    assert "NOGILSERVE_ADMIN_TOKEN" in str(caught.value)
    assert "hush" not in str(caught.value)
    (tmp_path / "nogilserve.toml").write_text('app = "m:app"\nadmin-token = 98765432\nenv = [98]\n')
    with pytest.raises(ConfigError) as caught:
        resolve([], {}, tmp_path, 4)
    assert "line 2, key admin-token" in str(caught.value)
    assert "98" not in str(caught.value).replace(str(tmp_path), "")


def test_settings_show_their_origin(tmp_path: Path) -> None:
    """--print-config says of each setting where it comes from, and keeps secrets to itself."""
    (tmp_path / "nogilserve.toml").write_text("backlog = 9\n")
    document = settings_document(
        resolve(
            ["m:a", "--threads=3", "-e", "TOKEN=hunter2"],
            {"NOGILSERVE_BODY_TIMEOUT": "1"},
            tmp_path,
        )
    )
    lines = document.splitlines()
    assert 'app = "m:a"  # the command line' in lines
    assert "threads = 3  # the command line" in lines
    assert "body-timeout = 1  # NOGILSERVE_BODY_TIMEOUT" in lines
    assert f"backlog = 9  # {tmp_path / 'nogilserve.toml'}, line 1, key backlog" in lines
    assert "keep-alive = 5  # default" in lines
    assert "# env: TOKEN (values are not shown)  # the command line" in lines
    assert "hunter2" not in document


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.integers(1, 99),
)
def test_settings_are_a_file_again(app: str, threads: int) -> None:
    """What --print-config prints, read as a file, gives the same settings."""
    resolved = resolve([f"--app={app}", f"--threads={threads}", "--access-log"], {}, NOWHERE, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nogilserve.toml"
        path.write_text(settings_document(resolved), encoding="utf-8")
        assert resolved.config == load(["-c", str(path)], {}, NOWHERE, 1)
