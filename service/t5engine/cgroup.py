"""Finds the cgroups that may limit this process."""

from __future__ import annotations

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def limiting_groups(
    controller: str, cgroup: Path = CGROUP, membership: Path = MEMBERSHIP
) -> list[Path]:
    """Returns the folders of the process's own group and of its ancestors, of both versions.

    A container may see the host's path although its own group is at the root. The roots are
    therefore always included.

    Args:
        controller: "cpu" or "memory"; version 1 has a hierarchy for each.
        cgroup: where cgroups are mounted.
        membership: the file that names the groups of the process.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        return [cgroup, cgroup / controller]
    groups = []
    for _, controllers, path in lines:
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroup / controller if controllers else cgroup
        group = root / path.lstrip("/")
        groups += [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return groups
