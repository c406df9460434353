"""Dagster's run launcher of a cluster: a pod per run, sized by the graph of its job."""

from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterRun, Field
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_user_defined_k8s_config

from diabetes_platform.dagster_internals import ConfigurableClassData
from diabetes_platform.orchestration.describe import GRAPH_TAG


class GraphRunLauncher(K8sRunLauncher):
    """`K8sRunLauncher` with additional configuration by the tag `platform/graph` of a run.

    A batch needs other resources, and maybe other nodes, than an increment of the stream. The tag
    `dagster-k8s/config` of a single run overrides both.
    """

    def __init__(
        self,
        *,
        graphs: Mapping[str, Mapping[str, Any]] | None = None,
        inst_data: ConfigurableClassData | None = None,
        **options: Any,  # noqa: ANN401 - Dagster's
    ) -> None:
        """`graphs` has the keys of `run_k8s_config`, by graph; `options` are the launcher's."""
        super().__init__(inst_data=inst_data, **options)
        self._graphs = graphs or {}

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Return the configuration of `K8sRunLauncher` with `graphs`."""
        options = super().config_type()  # type: ignore[no-untyped-call]
        return {**options, "graphs": Field(dict, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Return the launcher."""
        return cls(inst_data=inst_data, **config_value)

    def get_container_context_for_run(self, dagster_run: DagsterRun) -> K8sContainerContext:
        """Return the configuration of the run's pod."""
        context = super().get_container_context_for_run(dagster_run)
        graph = self._graphs.get(dagster_run.tags.get(GRAPH_TAG, ""), {})
        for config in (
            UserDefinedDagsterK8sConfig.from_dict(graph),  # type: ignore[no-untyped-call]
            # The tags of the run again, because they are more specific than its graph.
            get_user_defined_k8s_config(dagster_run.tags),
        ):
            context = context.merge(K8sContainerContext(run_k8s_config=config))
        return context
