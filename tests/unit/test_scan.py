"""Findings of packages, and what the policy makes of findings, on data made for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts import lock, paths, variants
from scripts.errors import CatalogueError, FetchError, ScannerError
from scripts.lock import Lock, LockedPackage
from scripts.platforms import PLATFORMS
from scripts.scanners import freshness, policy, sarif, secrets, vex, vulnerabilities
from scripts.scanners.findings import CHECKS, EXPIRED, VULNERABILITY, Finding, Severity, worst
from scripts.scanners.policy import Judged, Result
from scripts.scanners.vulnerabilities import Report
from scripts.variants import Variant
from tests.unit import signed, web
from tests.unit.conftest import REFUSING, Checkout
from tests.unit.deb import changelog
from tests.unit.locks import made_up, package
from tests.unit.signed import NOW, binary

AMD64 = PLATFORMS["linux/amd64"]
TODAY = date(2026, 11, 20)
CONDEMNED = "CVE-2026-11111"


def said(status: str, urgency: str, fixed: str = "", release: str = "trixie") -> dict[str, Any]:
    """What the tracker's data says of one vulnerability."""
    found = {"status": status, "urgency": urgency} | ({"fixed_version": fixed} if fixed else {})
    return {"description": "a fault", "releases": {release: found}}


def tracked(folder: Path, data: Mapping[str, Mapping[str, Any]]) -> Path:
    path = folder / "tracker.json"
    path.write_text(json.dumps(data))
    return path


def vulnerable(package_name: str = "glibc", severity: Severity = Severity.HIGH, fixed: str = "2") -> Finding:
    return Finding(VULNERABILITY, CONDEMNED, "a fault", severity, package_name, "1", fixed, ("libc6",), ("debsbom",))


POLICY = """\
vulnerabilities:
  with-fix: [critical, high, medium]
  without-fix: [critical]
notes:
  elf-bind-now: built so by the distribution
accept:
  - check: world-writable
    subjects: [tmp, var/*]
    variants: [debian]
    reason: meant to be so, with the sticky bit
ignore:
  - vulnerability: CVE-2026-11111
    package: glibc
    status: not_affected
    justification: vulnerable_code_not_in_execute_path
    reason: nothing here calls the function
    decided: 2026-11-01
    until: 2026-11-20
"""


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., policy.Policy]:
    """Function that reads a policy; pairs of arguments are texts to replace."""

    def load(*changes: str) -> policy.Policy:
        text = POLICY
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "policy.yaml").write_text(text)
        return policy.load(tmp_path / "policy.yaml")

    return load


# Vulnerabilities


def test_the_tracker_condemns_one_package_of_a_lock(tmp_path: Path) -> None:
    """By debsbom itself: what is mended in the locked version, or in another release, is no finding."""
    packages = lock.load(variants.load("debian"), lock.path_of("debian")).platforms[AMD64.name]
    libc = next(found for found in packages if found.package == "libc6")
    data = tracked(
        tmp_path,
        {
            libc.source: {
                CONDEMNED: said("resolved", "high", "9999-1"),
                "CVE-2026-22222": said("resolved", "high", libc.source_version),
                "CVE-2026-33333": said("open", "high", release="bookworm"),
            },
            "linux": {"CVE-2026-44444": said("open", "high")},
        },
    )
    (found,) = vulnerabilities.merged(vulnerabilities.tracker(packages, "trixie", data), packages)
    assert (found.subject, found.package, found.version) == (CONDEMNED, "glibc", libc.source_version)
    assert (found.severity, found.fixed, found.scanners) == (Severity.HIGH, "9999-1", ("debsbom",))
    assert "libc6" in found.binaries


def test_a_backport_is_compared_with_unstable(tmp_path: Path) -> None:
    """Of which it is a package, built again; the stable release's own version says nothing about it."""
    packages = [package("prosody", "13.0.6-1~bpo13+1")]
    data = tracked(
        tmp_path,
        {
            "prosody": {
                CONDEMNED: {
                    "releases": {
                        "trixie": {"status": "open", "urgency": "medium"},
                        "sid": {"status": "resolved", "fixed_version": "13.0.2-1", "urgency": "medium"},
                    }
                },
                "CVE-2026-22222": said("open", "not yet assigned", release="sid"),
            }
        },
    )
    (found,) = vulnerabilities.tracker(packages, "trixie", data)
    assert found == Report("debsbom", "CVE-2026-22222", "prosody", Severity.UNKNOWN, "", "")


def test_data_that_is_no_tracker_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tracker.json").write_text("{")
    with pytest.raises(ScannerError, match="debsbom ended with status"):
        vulnerabilities.tracker([package("tool")], "trixie", tmp_path / "tracker.json")
    with pytest.raises(ScannerError, match="is not a file"):
        vulnerabilities.database(str(tmp_path / "none.json"))


def test_the_tracker_is_fetched_from_its_address(cache: Path) -> None:
    with web.serving() as server:
        server.behaviours["/data/json"] = web.content(b"{}")
        assert vulnerabilities.database(f"{server.url}/data/json").read_bytes() == b"{}"
        with pytest.raises(FetchError, match=r"404.*\n.*--only image"):
            vulnerabilities.database(f"{server.url}/other")
    with pytest.raises(FetchError, match="--tracker FILE"):
        vulnerabilities.database(f"{REFUSING}/data/json")


# Shaped as Trivy 0.76 and Grype write them; what stands in no test is left out.
TRIVY = {
    "SchemaVersion": 2,
    "Results": [
        {"Target": "image (debian 13.2)", "Class": "os-pkgs", "Type": "debian"},
        {"Target": "image", "Class": "os-pkgs", "Vulnerabilities": [
            {"VulnerabilityID": CONDEMNED, "PkgName": "libc6", "InstalledVersion": "1", "FixedVersion": "2",
             "Title": "overflow", "Severity": "MEDIUM"},
            {"VulnerabilityID": "CVE-2026-22222", "PkgName": "libssl3t64", "Severity": "UNKNOWN"},
        ]},
    ],
}  # fmt: skip
GRYPE = {
    "matches": [
        {"vulnerability": {"id": CONDEMNED, "severity": "Critical", "fix": {"versions": ["2"], "state": "fixed"}},
         "artifact": {"name": "libc-bin", "version": "1", "type": "deb"}},
        {"vulnerability": {"id": "CVE-2026-33333", "severity": "Negligible", "fix": {"versions": []}},
         "artifact": {"name": "libc6", "version": "1", "type": "deb"}},
    ]
}  # fmt: skip


def test_what_scanners_say_of_one_vulnerability_is_one_finding() -> None:
    """Of the source package, with the worst severity and all who know it."""
    packages: list[LockedPackage] = [
        package("libc6", source="glibc"), package("libc-bin", source="glibc"), package("libssl3t64", source="openssl")
    ]  # fmt: skip
    reports = [
        Report("debsbom", CONDEMNED, "glibc", Severity.UNKNOWN, "", ""),
        *vulnerabilities._of_trivy(TRIVY),
        *vulnerabilities._of_grype(GRYPE),
    ]
    found = vulnerabilities.merged(reports, packages)
    assert [(one.subject, one.package, one.severity, one.fixed, one.scanners) for one in found] == [
        (CONDEMNED, "glibc", Severity.CRITICAL, "2", ("debsbom", "grype", "trivy")),
        ("CVE-2026-22222", "openssl", Severity.UNKNOWN, "", ("trivy",)),
        ("CVE-2026-33333", "glibc", Severity.NEGLIGIBLE, "", ("grype",)),
    ]
    assert found[0].binaries == ("libc-bin", "libc6")
    assert found[0].message == "glibc 1, mended in 2: overflow"


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    program = tmp_path / "trivy"
    program.write_text("#!/bin/sh\necho the database is too old >&2\nexit 3\n")
    program.chmod(0o755)
    assert vulnerabilities.available({"trivy": str(program)})["trivy"] == str(program)
    with pytest.raises(ScannerError, match=r"trivy ended with status 3:\n  the database is too old"):
        vulnerabilities.program("trivy", str(program), tmp_path)
    program.write_text("#!/bin/sh\necho nothing of use\n")
    with pytest.raises(ScannerError, match="something else than its report"):
        vulnerabilities.program("trivy", str(program), tmp_path)
    with pytest.raises(ScannerError, match="--grype wants one"):
        vulnerabilities.available({"grype": str(tmp_path / "none")})


def test_programs_are_found_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vulnerabilities.available({}) == {}
    (tmp_path / "grype").write_text("#!/bin/sh\n")
    (tmp_path / "grype").chmod(0o755)
    reference = "registry.example/trivy:1"
    assert vulnerabilities.available({"trivy": reference}) == {"trivy": reference, "grype": str(tmp_path / "grype")}


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["unknown", "low"], "low"), (["low", "critical", "high"], "critical"), (["unknown"], "unknown")],
)
def test_the_worst_severity_counts(words: list[str], expected: str) -> None:
    assert worst(map(Severity, words)) == expected


# Freshness


def aged(variant: Variant) -> Lock:
    return replace(made_up(variant, package("tool"), package("library")), platforms={
        "linux/amd64": (package("tool", source="tools"), package("library")),
    })  # fmt: skip


def test_a_newer_version_is_a_finding_with_what_it_mends(
    archive: signed.Archive, variant: Callable[..., Variant]
) -> None:
    told = changelog("tools", {"2": f"Mend {CONDEMNED}.", "1": "Mend CVE-2025-1111."})
    archive.offer(
        binary("tool", "2", {"usr/share/doc/tool/changelog.Debian.gz": told}, Source="tools"), binary("library", "1"),
    )  # fmt: skip
    (found,) = freshness.scan(variant(), aged(variant()), [AMD64], NOW)[AMD64]
    assert (found.check, found.subject, found.version, found.fixed) == ("security-update", "tools", "1", "2")
    assert found.message == f"1 is locked, trixie has 2, which mends {CONDEMNED}"


def test_a_newer_version_that_mends_nothing_is_another_finding(
    archive: signed.Archive, variant: Callable[..., Variant]
) -> None:
    archive.offer(binary("tool", "2", Source="tools"), binary("library", "0.9"))
    (found,) = freshness.scan(variant(), aged(variant()), [AMD64], NOW)[AMD64]
    assert (found.check, found.severity) == ("update", Severity.LOW)


def test_a_lock_that_is_current_has_no_findings(archive: signed.Archive, variant: Callable[..., Variant]) -> None:
    archive.offer(binary("tool", "1", Source="tools"), binary("library", "1"))
    assert freshness.scan(variant(), aged(variant()), [AMD64], NOW) == {AMD64: []}


# The policy


def results(found: list[Judged]) -> list[tuple[str, str]]:
    return [(judged.finding.check, str(judged.result)) for judged in found]


def test_the_policy_of_this_repository_is_valid_and_names_every_check() -> None:
    assert policy.load().with_fix >= {"critical", "high"}
    schema = json.loads((paths.SCHEMA / "scan-policy.schema.json").read_text())
    assert schema["$defs"]["check"]["enum"] == [name for name in CHECKS if name not in (VULNERABILITY, EXPIRED)]
    assert schema["$defs"]["severities"]["items"]["enum"] == list(Severity)


@pytest.mark.parametrize(
    ("severity", "fixed", "expected"),
    [("high", "2", "fails"), ("low", "2", "note"), ("high", "", "note"), ("critical", "", "fails")],
)
def test_vulnerabilities_fail_by_severity_and_fix(
    made: Callable[..., policy.Policy], severity: str, fixed: str, expected: str
) -> None:
    found = vulnerable("other", Severity(severity), fixed)
    assert results(policy.judge(made(), "debian", [found], TODAY)) == [(VULNERABILITY, expected)]


def test_an_ignore_holds_until_its_last_day_and_then_fails_by_name(made: Callable[..., policy.Policy]) -> None:
    found = [vulnerable()]
    (before,) = policy.judge(made(), "debian", found, TODAY)
    assert (before.result, before.reason) == (Result.IGNORED, "nothing here calls the function (until 2026-11-20)")
    after = policy.judge(made(), "debian", found, TODAY + timedelta(days=1))
    assert results(after) == [(VULNERABILITY, "fails"), (EXPIRED, "fails")]
    assert after[1].finding.subject == CONDEMNED
    assert "policy.yaml:12:5 ignored it in glibc until 2026-11-20" in after[1].finding.message
    # Even if no scanner knows the vulnerability any more: then the line is to be dropped.
    assert results(policy.judge(made(), "debian", [], TODAY + timedelta(days=1))) == [(EXPIRED, "fails")]


def test_what_is_accepted_is_so_for_its_subjects_and_variants_alone(made: Callable[..., policy.Policy]) -> None:
    found = [Finding.of("world-writable", subject, "mode 1777") for subject in ("tmp", "var/tmp", "etc")]
    assert [one.result for one in policy.judge(made(), "debian", found, TODAY)] == ["ignored", "ignored", "fails"]
    assert [one.result for one in policy.judge(made(), "hardened", found, TODAY)] == ["fails"] * 3
    other = [Finding.of("setuid", "tmp", "mode 4755"), Finding.of("elf-bind-now", "usr/bin/tool", "")]
    assert [one.result for one in policy.judge(made(), "debian", other, TODAY)] == ["fails", "note"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("notes:", "note:", "policy.yaml:4:1: note: unknown key; allowed: accept, ignore, licences"),
        ("elf-bind-now:", "elf-bindnow:", "policy.yaml:5:3: notes.elf-bindnow: 'elf-bindnow' is not known; allowed"),
        ("[critical]", "[worse]", "policy.yaml:3:17: vulnerabilities.without-fix[0]: 'worse' is not known"),
        ("[debian]", "[debain]", "policy.yaml:9:16: accept[0].variants[0]: there is no variant 'debain'"),
        ("until: 2026-11-20", "until: 2026-13-20", "policy.yaml:18:12: ignore[0].until: not a plain value: month"),
        ("until: 2026-11-20", "until: '2026-13-20'", "policy.yaml:18:5: ignore[0].until: '2026-13-20' is no day"),
        ("until: 2026-11-20", "until: 2026-10-20", "ignore[0].until: is before the day on which that was decided"),
        ("    until: 2026-11-20\n", "", "ignore[0]: missing: until"),
        ("status: not_affected", "status: affected", "`justification` goes with the status not_affected"),
        ("reason: nothing here calls the function", "reason: mine", "ignore[0].reason: 'mine' is too short"),
    ],
)  # fmt: skip
def test_a_policy_with_a_fault_is_refused_with_its_place(
    made: Callable[..., policy.Policy], old: str, new: str, problem: str
) -> None:
    with pytest.raises(CatalogueError) as raised:
        made(old, new)
    assert problem in str(raised.value)
    assert raised.value.exit_status == 20


# Documents


def test_sarif_tells_results_apart_and_where_they_come_from(made: Callable[..., policy.Policy]) -> None:
    found = policy.judge(
        made(), "debian",
        [vulnerable(), vulnerable("openssl"), Finding.of("elf-bind-now", "usr/bin/lua5.4", "none", "prosody")], TODAY,
    )  # fmt: skip
    log = sarif.document("debian", {"linux/amd64": found})
    (run,) = log["runs"]
    assert run["automationDetails"]["id"] == "debian/linux/amd64/"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["elf-bind-now", "vulnerability"]
    ignored, failing, note = run["results"]
    assert ignored["suppressions"][0]["kind"] == "external"
    assert (failing["level"], "suppressions" in failing, note["level"]) == ("error", False, "note")
    place = failing["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "images/debian/lock.json"
    text = lock.path_of("debian").read_text().splitlines()[place["region"]["startLine"] - 1]
    assert '"source": "openssl"' in text
    place = note["locations"][0]["physicalLocation"]
    listed = (paths.ROOT / place["artifactLocation"]["uri"]).read_text().splitlines()
    assert listed[place["region"]["startLine"] - 1].startswith("prosody\tusr/bin/lua5.4\tfile")
    assert len({result["partialFingerprints"]["finding/v1"] for result in run["results"]}) == 3
    assert sarif.document("debian", {"linux/amd64": found}) == log


def test_openvex_says_what_is_ignored_and_nothing_else(made: Callable[..., policy.Policy]) -> None:
    found = policy.judge(made(), "debian", [vulnerable(), vulnerable("openssl")], TODAY)
    document = vex.document("debian", f"sha256:{'0' * 64}", [*found, *found])
    assert document is not None
    (statement,) = document["statements"]
    assert statement["vulnerability"] == {"name": CONDEMNED}
    assert statement["justification"] == "vulnerable_code_not_in_execute_path"
    assert statement["status_notes"] == "nothing here calls the function (holds until 2026-11-20)"
    (product,) = statement["products"]
    assert product["@id"] == f"pkg:oci/prosody@sha256:{'0' * 64}?tag=debian"
    assert [part["@id"] for part in product["subcomponents"]] == [
        "pkg:deb/debian/glibc@1?arch=source", "pkg:deb/debian/libc6",
    ]  # fmt: skip
    # The days are those of the judgements, so that nothing changes from one scan to the next.
    assert document["timestamp"] == statement["timestamp"] == "2026-11-01T00:00:00Z"
    assert (
        vex.document("debian", f"sha256:{'0' * 64}", policy.judge(made(), "debian", [vulnerable("openssl")], TODAY))
        is None
    )


# Secrets


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0\xff-----BEGIN OPENSSH PRIVATE KEY-----\n", ["Private Key"]),
        (b"token = 'ghp_" + b"a1B2" * 9 + b"'", ["GitHub Token"]),
        (b"url: https://user:hunter2@example.org/", ["Basic Auth Credentials"]),
        (b"10.0.0.1 and the words private key and password", []),
    ],
)
def test_secrets_are_known_by_their_form(content: bytes, expected: list[str]) -> None:
    assert list(secrets.kinds(content)) == expected


# The command


def test_errors_of_the_command_have_their_exit_statuses(checkout: Checkout) -> None:
    checkout.edit("images/scan-policy.yaml", "notes:", "notse:")
    done = checkout.run("scan", "debian", "--only", "image")
    assert done.returncode == 20
    assert "images/scan-policy.yaml:12:1: notse: unknown key" in done.stderr
    checkout.edit("images/scan-policy.yaml", "notse:", "notes:")
    done = checkout.run("scan", "debian", "--only", "image")
    assert (done.returncode, "debian is not built. Build it with" in done.stderr) == (2, True)
    done = checkout.run("scan", "debian", f"--tracker={REFUSING}/data")
    assert (done.returncode, "--tracker FILE" in done.stderr) == (13, True)
    done = checkout.run("scan", "--image", os.curdir)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
