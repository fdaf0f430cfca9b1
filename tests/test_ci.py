"""`.ci/run`: only the end of its output may be kept, so what has failed is told there."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

DEV = """#!/bin/sh
[ "$1" != run ] || exit 0
i=0
while [ $i -lt 99 ]; do i=$((i + 1)); echo "$* line $i"; done
echo "the end of $*"
case " $FAILING " in *" $1$2 "*) exit 1 ;; esac
"""


def ci(folder: Path, failing: str) -> tuple[int, list[str]]:
    """Run it with parts of which some fail; its status and what it has written."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    (folder / "dev").write_text(DEV)
    (folder / "dev").chmod(0o755)
    done = subprocess.run(
        [folder / ".ci/run"],
        env={"PATH": "/usr/bin:/bin", "FAILING": failing, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert sorted(path.name for path in folder.iterdir()) == [".ci", "dev"]
    return done.returncode, done.stdout.splitlines()


def test_all_is_well(tmp_path: Path) -> None:
    """Each part is shown whole, and once; the runner's closing line comes last."""
    status, lines = ci(tmp_path, "")
    assert status == 0
    assert lines[-1] == "the end of test"
    for part in ("stress --both --minutes 1", "check", "bench guard", "test --matrix", "test"):
        assert lines.count(f"{part} line 1") == lines.count(f"the end of {part}") == 1


def test_what_failed_is_shown_again_at_the_end(tmp_path: Path) -> None:
    """The end of its output, and all names; the closing line still comes last."""
    status, lines = ci(tmp_path, "stress--both test--matrix")
    assert status == 1
    end = lines[lines.index("the end of test") + 1 :]
    assert len(end) == 2 * 41 + 2
    assert end[0].startswith("ci: ./dev stress failed")
    assert end[40] == "the end of stress --both --minutes 1"
    assert end[41].startswith("ci: ./dev test --matrix failed")
    assert end[-2:] == ["ci: failed: ./dev stress ./dev test --matrix", "the end of test"]


def test_failing_tests_fail_it(tmp_path: Path) -> None:
    """Their end is the end anyway."""
    status, lines = ci(tmp_path, "test")
    assert status == 1
    assert lines[-3:] == ["the end of test", "ci: failed: ./dev test", "the end of test"]
