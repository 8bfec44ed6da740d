"""The table of stages: the only place with the name, code version, inputs and description of each stage."""

from __future__ import annotations

from pathlib import Path

from stac_manager.config import Workflow
from stac_manager.item_steps import ItemStep
from stac_manager.pipeline.stages.builders import extensions_of, outputs_of, transforms_of
from stac_manager.pipeline.stages.content_hash import hash_of_files
from stac_manager.pipeline.stages.item_stages import run_extended, run_transformed
from stac_manager.pipeline.stages.protocol import StageDefinition
from stac_manager.pipeline.stages.publish import is_as_published, run_published
from stac_manager.pipeline.stages.raw import run_raw_items
from stac_manager.pipeline.stages.validate import run_validated
from stac_manager.pipeline.state.manifest import Stage

__all__ = ["STAGE_TABLE", "code_version"]

_JSON = frozenset({"stac", "json"})


def _step_versions(steps: list[ItemStep]) -> list[str]:
    return [f"{type(step).__module__}.{type(step).__qualname__} {step.version}" for step in steps]


def _step_files(steps: list[ItemStep]) -> list[Path]:
    return [path for step in steps for path in step.files(step.config)]


STAGE_TABLE: dict[Stage, StageDefinition] = {
    stage.name: stage
    for stage in (
        StageDefinition(
            name="raw_items",
            code_version="3",
            description="Items of the window as the source served them, each once.",
            kinds=_JSON,
            run=run_raw_items,
            sections=("source", "partitions"),
            without_effect={"source": {"collections", "auth"}, "partitions": {"per_run", "end"}},
            reads_source=True,
        ),
        StageDefinition(
            name="transformed",
            code_version="2",
            description="Items after the transforms of the workflow; unchanged where it declares none.",
            kinds=_JSON,
            run=run_transformed,
            sections=("transformation",),
            parts=lambda workflow: _step_versions([*transforms_of(workflow)]),
            files=lambda workflow: _step_files([*transforms_of(workflow)]),
        ),
        StageDefinition(
            name="extended",
            code_version="2",
            description="Items with the extensions of the workflow; unchanged where it declares none.",
            kinds=_JSON,
            run=run_extended,
            sections=("extensions",),
            parts=lambda workflow: _step_versions([*extensions_of(workflow)]),
            files=lambda workflow: _step_files([*extensions_of(workflow)]),
        ),
        StageDefinition(
            name="validated",
            code_version="2",
            description="Items that their schemas accept; the others are in quarantine with their reasons.",
            kinds=_JSON,
            run=run_validated,
            sections=("validation",),
            without_effect={"validation": {"round_trip"}},
            files=lambda workflow: [Path(folder) for folder in workflow.validation.schema_dirs],
        ),
        StageDefinition(
            name="published",
            code_version="3",
            description="The files of the partition in every format of the workflow, and the collection over them.",
            kinds=frozenset({"stac", "parquet"}),
            run=run_published,
            # not the section `output`, because the place of the files does not change their content
            parts=lambda workflow: [f"{output.name} {output.version}" for output in outputs_of(workflow)],
            is_intact=is_as_published,
        ),
    )
}
"""Stage -> its row, in the order in which they run."""


def code_version(workflow: Workflow, stage: Stage) -> str:
    """The code version of a stage; it changes if the stage could give another result for the same input.

    It covers the stage's code, its sections of the workflow, and the content of the files that these name.
    """
    row = STAGE_TABLE[stage]
    version = row.code_version
    if row.sections:
        version += "-" + workflow.section_hash(*row.sections, leaving_out=row.without_effect)
    for more in (row.parts(workflow), hash_of_files(row.files(workflow))):
        version += "".join(f"-{part}" for part in more)
    return version
