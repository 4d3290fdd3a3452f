"""Run the steps of a recipe, from corpora to a report, as one job. Each step resumes where it was stopped.

A step is done when the header of its output is there, and the next run of the same pipeline does what is missing.
Steps hand over nothing but files, so each step can also be run by its own command.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jobs import embed, evaluate, manifest, train, tune
from jobs.progress import Progress, Silent
from jobs.spread.session import ray_session
from s2m_ray.config.corpora import ManifestConfig
from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.loading import to_dict
from s2m_ray.config.training import TrainConfig
from s2m_ray.config.tuning import TuneConfig
from s2m_ray.errors import ConfigError
from s2m_ray.files.claims import claim
from s2m_ray.files.place import Place
from s2m_ray.operations.recipe import Recipe
from s2m_ray.report import page as report


@dataclass
class PipelineResult:
    """What each step gave, by its name, and whether a step has more rejects than it may."""

    out: Path
    steps: dict[str, Any] = field(default_factory=dict)
    over_limit: bool = False
    evaluation: dict[str, Any] | None = None
    report: Path | None = None


@dataclass(frozen=True)
class Step:
    """One step of a pipeline: its name, its output, and the function that makes the output."""

    name: str
    out: Place
    run: Callable[[Progress, PipelineResult], Any]  # what it returns is a line of the result


def run(recipe: Recipe, progress: Progress | None = None) -> PipelineResult:
    """Do every step of a recipe that is not done yet.

    Raises:
        S2MError: A step failed; the steps before it are kept.
        Interrupted, KeyboardInterrupt: The job was stopped; the same call resumes it.
    """
    progress = progress or Silent()
    claim(recipe.out, _settings(recipe), ConfigError)
    result = PipelineResult(recipe.out)
    todo = list(steps(recipe))
    with ray_session(recipe.resources):
        for number, step in enumerate(todo, start=1):
            progress.step(f"[{number}/{len(todo)}] {step.name} -> {step.out}")
            result.steps[step.name] = step.run(progress, result)
    return result


def steps(recipe: Recipe) -> Iterator[Step]:
    """Yield the steps of a recipe in their order."""
    for side, listing in recipe.manifest.items():
        assert listing.out is not None
        yield Step(f"manifest {side}", listing.out, partial(_manifest, listing))
    for side, config in recipe.embed.items():
        yield Step(f"embed {side}", config.out, partial(_embed, config))
    if recipe.tune:
        yield Step("tune", recipe.tune.out, partial(_tune, recipe.tune))
    if recipe.train:
        yield Step("train", recipe.train.out, partial(_train, recipe.train))
    if recipe.evaluate:
        yield Step("evaluate", recipe.evaluate.out, partial(_evaluate, recipe.evaluate))
    if recipe.report:
        yield Step("report", recipe.out / "report.html", partial(_report, recipe.out))


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that a second run may not change, which are all but the resources."""

    def plain(config: Any) -> dict[str, Any]:
        return {key: value for key, value in to_dict(config).items() if key not in ("out", "resources")}

    return {
        "manifest": {side: plain(config) for side, config in recipe.manifest.items()},
        "embed": {side: plain(config) for side, config in recipe.embed.items()},
        "tune": recipe.tune and plain(recipe.tune),
        "train": recipe.train and plain(recipe.train),
        "evaluate": recipe.evaluate and plain(recipe.evaluate),
        "report": recipe.report,
    }


def _manifest(config: ManifestConfig, progress: Progress, result: PipelineResult) -> dict[str, Any]:
    """Write a manifest that is not there yet. The stores hold its checksum, so a corpus is not listed anew."""
    assert config.out is not None
    if not config.out.exists():
        result.over_limit |= manifest.run(config, progress).over_limit
    return {"manifest": str(config.out)}


def _embed(config: EmbedConfig, progress: Progress, result: PipelineResult) -> dict[str, Any]:
    done = embed.run(config, progress)
    result.over_limit |= done.over_limit
    return {"embedded_now": done.embedded_now, "items": done.header["items"], "rejected": done.header["rejected"]}


def _tune(config: TuneConfig, _: Progress, __: PipelineResult) -> dict[str, Any]:
    done = tune.run(config)
    return {"trained_now": done.trained_now, "failed": sorted(done.failed), "report": str(config.out / "report.html")}


def _train(config: TrainConfig, progress: Progress, _: PipelineResult) -> dict[str, Any]:
    return {"trained_now": list(train.run(config, progress).trained_now)}


def _evaluate(config: EvalConfig, _: Progress, result: PipelineResult) -> dict[str, Any]:
    result.evaluation = evaluate.run(config)
    return {name: value["mean"] for name, value in result.evaluation["metrics"].items()}


def _report(out: Path, _: Progress, result: PipelineResult) -> dict[str, Any]:
    result.report = report.run(out / "evaluations", out / "report.html")
    return {"report": str(result.report)}
