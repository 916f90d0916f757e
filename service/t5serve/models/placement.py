"""The cores of each model: one plan over all models of a service."""

from __future__ import annotations

from collections.abc import Sequence

from t5engine.cpus import Demand, Share, plan_pools, usable_cores
from t5serve.errors import StartupError
from t5serve.models.declaration import Declaration


class Placement:
    """Shares out the cores, once, at the start.

    Models that load at the start get cores of their own, as far as there are enough. Models that
    load later run where the kernel puts them, with a thread per core that the others leave.

    Args:
        declarations: the models of the service.
        cpu_set: processors that the service has to itself; empty: none are reserved.

    Raises:
        StartupError: `cpu_set` has a processor that this process may not use.
    """

    def __init__(self, declarations: Sequence[Declaration], cpu_set: Sequence[int] = ()) -> None:
        self._cpu_set = tuple(cpu_set)
        first = [declaration for declaration in declarations if declaration.load == "start"]
        try:
            shares = plan_pools([declaration.demand for declaration in first], cpu_set)
            cores = len(usable_cores(cpu_set))
        except ValueError as error:
            raise StartupError(f"T5SERVE_CPU_SET: {error}") from error
        self._planned = {
            _key(declaration): share for declaration, share in zip(first, shares, strict=True)
        }
        used = sum(share.threads for pool in shares for share in pool)
        self._spare_cores = max(1, cores - used)

    def shares(self, declaration: Declaration) -> list[Share]:
        """Returns the share of each worker of a model."""
        planned = self._planned.get(_key(declaration))
        if planned is not None:
            return planned
        demand = declaration.demand
        threads = demand.threads or max(1, self._spare_cores // demand.count)
        return [Share(threads, self._cpu_set, demand.can_split and threads > 1)] * demand.count


def _key(declaration: Declaration) -> tuple[str | None, str, Demand]:
    """Returns what the plan knows a model by: a reload can declare another of the same name."""
    return declaration.name, declaration.load, declaration.demand
