"""Generation parameters as fields of a request, made from the engine's table."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from t5engine.decoding.parameters import PARAMETERS


def bounds(name: str) -> FieldInfo:
    """The bounds of a parameter, for `Annotated`; NaN and infinity are refused."""
    row = PARAMETERS[name]
    finite: dict[str, Any] = {"allow_inf_nan": False} if row.value_type is float else {}
    field: FieldInfo = Field(**row.parameter.bounds, **finite)
    return field


def parameter_fields() -> dict[str, Any]:
    """A field for every parameter, None by default, for `pydantic.create_model`.

    `x-strategies` and `x-neutral` tell the web page which strategies use the parameter, and at
    which values it changes nothing.
    """
    return {
        name: (
            Annotated[row.value_type, bounds(name)] | None,
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
