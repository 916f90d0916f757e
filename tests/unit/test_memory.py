"""How much memory is available: what the machine has left, within the limits of cgroups."""

from __future__ import annotations

from pathlib import Path

from t5engine.memory import available_bytes


def machine(root: Path) -> Path:
    """Returns a /proc/meminfo with 12,000 kB available."""
    path = root / "meminfo"
    path.write_text("MemTotal:  24000 kB\nMemAvailable:   12000 kB\n", encoding="utf-8")
    return path


def group(folder: Path, limit: str, used: str, inactive: int) -> None:
    """Writes the files of a cgroup of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\ninactive_file {inactive}\nactive_file 9\n")


def test_without_a_limit(tmp_path: Path) -> None:
    """Kilobytes of the machine become bytes; a group without a limit does not count."""
    membership = tmp_path / "membership"
    membership.write_text("0::/\n")
    group(tmp_path / "cgroup", "max", "5000", 0)
    available = available_bytes(machine(tmp_path), tmp_path / "cgroup", membership)
    assert available == 12_000 * 1024


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    """What a group above leaves; pages of files that nobody uses count as free."""
    membership = tmp_path / "membership"
    membership.write_text("0::/pod/container\n")
    group(tmp_path / "cgroup/pod", "2000000", "900000", 100_000)
    group(tmp_path / "cgroup/pod/container", "max", "900000", 100_000)
    available = available_bytes(machine(tmp_path), tmp_path / "cgroup", membership)
    assert available == 1_200_000


def test_version_1(tmp_path: Path) -> None:
    """A container of version 1 sees its own group at the root."""
    membership = tmp_path / "membership"
    membership.write_text("9:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123\n")
    folder = tmp_path / "cgroup/memory"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("3000000\n")
    (folder / "memory.usage_in_bytes").write_text("1000000\n")
    (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 500000\n")
    available = available_bytes(machine(tmp_path), tmp_path / "cgroup", membership)
    assert available == 2_500_000


def test_unknown(tmp_path: Path) -> None:
    """Without these files, as on macOS, nothing is known."""
    missing = tmp_path / "missing"
    assert available_bytes(missing, missing, missing) is None
