"""Run the whole path on the embedded corpus: synth, manifest, embed, train, evaluate, report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import embed, evaluate, train
from jobs.progress import Progress, Silent
from jobs.spread.session import ray_session
from s2m_ray.config.embedding import EmbedConfig
from s2m_ray.config.evaluation import EvalConfig
from s2m_ray.config.resources import ResourceConfig
from s2m_ray.config.training import Framework, LossConfig, TrainConfig
from s2m_ray.corpora.synth import write_corpus
from s2m_ray.errors import ManifestError
from s2m_ray.files.claims import claim
from s2m_ray.manifest.checks import from_rows
from s2m_ray.manifest.formats import write_manifest
from s2m_ray.report import page as report

FRAMEWORKS: tuple[Framework, ...] = ("triplet", "triplet_soft")


@dataclass(frozen=True)
class QuickstartResult:
    """Where the page is, and the evaluation of each framework."""

    report: Path
    evaluations: dict[str, dict[str, Any]]


def run(out: Path, seeds: tuple[int, ...], progress: Progress | None = None) -> QuickstartResult:
    """Do every step that is not done yet, in ``out``.

    Raises:
        S2MError: ``out`` holds something else, or a step of another quickstart.
    """
    progress = progress or Silent()
    claim(out, {"quickstart": 1, "seeds": list(seeds)}, ManifestError)
    manifests = _corpus(out / "corpus", progress)
    evaluations: dict[str, dict[str, Any]] = {}
    with ray_session(ResourceConfig()):
        for manifest in manifests:
            embed.run(EmbedConfig(manifest=manifest, out=out / "stores" / manifest.stem), progress)
        speech, music = (out / "stores" / manifest.stem for manifest in manifests)
        for framework in FRAMEWORKS:
            model = out / "models" / framework
            loss = LossConfig(framework=framework)
            train.run(TrainConfig(speech=speech, music=music, out=model, seeds=seeds, loss=loss), progress)
            progress.step(f"evaluate {framework}")
            evaluations[framework] = evaluate.run(
                EvalConfig(speech=speech, music=music, model=model, out=out / "evaluations" / framework)
            )
    progress.step("report")
    return QuickstartResult(report.run(out / "evaluations", out / "report.html"), evaluations)


def _corpus(root: Path, progress: Progress) -> tuple[Path, Path]:
    """Return the manifests of the embedded corpus. They are written last, after all audio is complete."""
    manifests = root / "speech.parquet", root / "music.parquet"
    if not all(manifest.exists() for manifest in manifests):
        progress.step("synthesise the embedded corpus")
        rows = write_corpus(root, seed=0, progress=lambda done, total: progress.update(done, total, "files"))
        for manifest in manifests:
            chosen = [row for row in rows if row["modality"] == manifest.stem]
            write_manifest(from_rows(chosen, str(root)), manifest)
    return manifests
