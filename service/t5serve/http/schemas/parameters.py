"""Generation parameters as request fields, built from the engine's table of parameters."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from t5engine.decoding.parameters import PARAMETERS
from t5serve.http.schemas.body import WHOLE


def bounds(name: str) -> FieldInfo:
    """Returns the bounds of a parameter, for `Annotated`; they exclude NaN and infinity."""
    row = PARAMETERS[name]
    finite: dict[str, Any] = {"allow_inf_nan": False} if row.value_type is float else {}
    field: FieldInfo = Field(**row.parameter.bounds, **finite)
    return field


def parameter_fields() -> dict[str, Any]:
    """Returns an optional field per parameter, for `pydantic.create_model`.

    The web page reads two extensions of the schema: `x-strategies` lists the strategies that use
    the parameter, `x-neutral` the values that have no effect.
    """
    return {
        name: (
            Annotated[row.value_type, bounds(name), WHOLE] | None,
            Field(
                default=None,
                description=row.parameter.help,
                json_schema_extra={
                    "x-strategies": list(row.strategies),
                    "x-neutral": list(row.neutral),
                },
            ),
        )
        for name, row in PARAMETERS.items()
    }
