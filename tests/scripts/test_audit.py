"""The audit fails where it must: on what has no hash, on what must not be here, on licences that nobody allowed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.audit import ROOT, Package, advisories, is_allowed, licence_problems, problems_of_lock, vulnerabilities
from scripts.sbom import bill_of

HASH = "--hash=sha256:" + "0" * 64
GOOD = f"""\
# made by a tool
starlette==1.0.1 \\
    {HASH} \\
    {HASH}
torch==2.13.0+cpu ; sys_platform == 'linux' {HASH}
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("starlette==1.0.1", "not a version with its sha256 hashes"),
        (f"starlette>=1.0.1 {HASH}", "not a version with its sha256 hashes"),
        (f"starlette=={'1.*'} {HASH}", "not a version with its sha256 hashes"),
        ("starlette==1.0.1 --hash=md5:0123456789abcdef0123456789abcdef", "not a version with its sha256 hashes"),
        (f"starlette @ https://example.org/starlette.whl {HASH}", "not a version with its sha256 hashes"),
        ("git+https://example.org/starlette.git", "not a version with its sha256 hashes"),
        ("-e .", "not a version with its sha256 hashes"),
        ("--trusted-host example.org", "not a version with its sha256 hashes"),
        (f"litellm==1.99.0 {HASH}", "litellm: two of its releases were compromised"),
    ],
)
def test_a_bad_lock_is_told(line: str, said: str, tmp_path: Path) -> None:
    assert problems_of_lock(GOOD) == []
    (problem,) = problems_of_lock(f"{GOOD}{line}\n")
    assert said in problem


def test_the_check_fails_on_a_bad_lock_and_not_on_ours(tmp_path: Path) -> None:
    def audit(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts/audit.py"), "--offline", "--locks", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    (tmp_path / "dev.lock").write_text("starlette==1.0.1\n")
    bad = audit(tmp_path)
    assert (bad.returncode, "dev.lock: `starlette==1.0.1` is not" in bad.stdout) == (1, True)
    good = audit(ROOT / "requirements")
    assert (good.returncode, good.stdout) == (0, "")


@pytest.mark.parametrize(
    ("expression", "is_good"),
    [
        ("MIT", True),
        ("Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND BSL-1.0", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("(GPL-3.0-only OR MIT) AND AGPL-3.0-only", False),
        ("AGPL-3.0-only", False),
        ("Proprietary", False),
        ("", False),
    ],
)
def test_licences(expression: str, is_good: bool) -> None:
    assert is_allowed(expression) is is_good


def test_a_licence_that_is_not_known_fails() -> None:
    known = Package("known", "", ("MIT License", "Apache Software License"))
    assert licence_problems([known, Package("piper-tts", "GPL-3.0-or-later", ())]) == []
    (said,) = licence_problems([known, Package("mystery", "", ())])
    assert said == "mystery: licence unknown is not on the list"
    assert licence_problems([Package("house", "", ("Our own terms",))])


def test_a_known_vulnerability_fails_and_a_silent_service_does_not() -> None:
    flaw = {"id": "CVE-2026-48710", "fix_versions": ["1.0.1"]}
    told: list[dict[str, object]] = [{"name": "starlette", "version": "1.0.0", "vulns": [flaw]}]
    assert vulnerabilities(told) == ["starlette 1.0.0: CVE-2026-48710; mended in 1.0.1"]
    found, note = advisories("no-such-package-of-anybody\n")  # the tool refuses it, as it would a service that is away
    assert (found, note[:6]) == ([], "note: ")


def test_the_bill_of_materials_names_every_package_with_its_hashes() -> None:
    lock = (ROOT / "requirements" / "local.lock").read_text(encoding="utf-8")
    bill = json.loads(bill_of(lock))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    packages = {one["name"]: one for one in bill["components"]}
    assert len(bill["components"]) == len(re.findall(r"^[a-z0-9.-]+==", lock, re.MULTILINE)) >= len(packages) > 50
    assert packages["starlette"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert all(one["hashes"] and one["purl"].startswith("pkg:pypi/") for one in packages.values())
    assert bill["serialNumber"] == json.loads(bill_of(lock))["serialNumber"]
