"""The schemas of docker/kubernetes: Kubernetes' own, KEDA's, the Prometheus operator's."""

from __future__ import annotations

import kubernetes_validate
import pydantic
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus_operator

from support.kustomize import Manifest

VERSIONS = ("1.27", "1.37")
"""The oldest version that has every field, and the newest whose schema is known here."""
CUSTOM: dict[tuple[str, str], type[pydantic.BaseModel]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): keda.ScaledObject,
    ("monitoring.coreos.com/v1", "PrometheusRule"): prometheus_operator.PrometheusRule,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): prometheus_operator.ServiceMonitor,
}
"""Models that were generated from the custom resources' definitions."""


def check_schema(manifest: Manifest) -> None:
    """Checks an object; an unknown field is a fault, too.

    Raises:
        kubernetes_validate.ValidationError, pydantic.ValidationError: the object has a fault.
    """
    model = CUSTOM.get((manifest["apiVersion"], manifest["kind"]))
    if model is not None:
        # A field's name is its alias: the models' own names are Python's.
        model.model_validate(manifest, strict=True, extra="forbid", by_alias=True, by_name=False)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)
