"""``s2m train`` and ``tune``: from vectors to a joint space."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Given, Json, Option, app, reads
from jobs.commands.output import give, say, table
from s2m_ray.config.training import ParityConfig, TrainConfig
from s2m_ray.config.tuning import TuneConfig

HOLDOUT = (
    Option("holdout.speakers", ("--holdout-speakers",)),
    Option("holdout.music", ("--holdout-music",)),
)


@app.command()
@reads(
    TrainConfig,
    *("speech", "music", "out", "loss.framework", "loss.regulariser", "loss.emo_lambda", "loss.margin"),
    *("modality", "speech_text", "words", "seeds"),
    *HOLDOUT,
    *("resources.workers", "resources.address"),
)
def train(
    given: Given[TrainConfig],
    parity: Annotated[
        bool,
        typer.Option(
            "--parity", help="Train as the original code does, with its quirks: parity.* and fit.patience=5."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train the joint speech-music space, all seeds at once."""
    cfg = given.load(before=ParityConfig.settings() if parity else ())
    from jobs.commands.progress import Display
    from jobs.train import run

    with Display() as progress:
        result = run(cfg, progress)
    if not result.trained_now:
        say(f"{cfg.out}: complete already, nothing to do")
    elif len(result.trained_now) < len(cfg.seeds):
        say(f"{cfg.out}: resumed, seeds {list(result.trained_now)} were missing")
    for epochs in sorted(set(result.resumed.values())):
        begun = [seed for seed, done in result.resumed.items() if done == epochs]
        say(f"{cfg.out}: seeds {begun} went on after {epochs} epochs")
    text = f"{cfg.out}: {cfg.loss.framework}, seeds {list(cfg.seeds)}, {result.header['items']}"
    give(as_json, {"checkpoint": cfg.out, "trained_now": result.trained_now, **result.header}, text)


Axis = Annotated[str | None, typer.Option(help="Values to search, such as 0,0.5,1, or a single value.")]


@app.command()
@reads(
    TuneConfig,
    *("speech", "music", "out", "speech_text", "seeds", "sweep.search", "sweep.samples", "sweep.scheduler"),
    "sweep.metric",
    *HOLDOUT,
    *("sweep.test_split", "sweep.concurrent"),
    Option("resources.workers", ("--workers-per-trial",)),
    *("sweep.log_to", "resources.address"),
)
def tune(
    given: Given[TuneConfig],
    emo_lambda: Axis = None,
    margin: Axis = None,
    framework: Axis = None,
    regulariser: Axis = None,
    modality: Axis = None,
    as_json: Json = False,
) -> None:
    """Search settings over several seeds: find the best, and test its gain. --set key=1,2,3 is searched too."""
    from s2m_ray.config.space import split_settings
    from s2m_ray.config.tuning import with_axes

    plain, axes = split_settings(given.settings)
    loss = {"emo_lambda": emo_lambda, "margin": margin, "framework": framework, "regulariser": regulariser}
    asked = {f"loss.{name}": text for name, text in loss.items()} | {"modality": modality}
    axes |= {key: text for key, text in asked.items() if text is not None}
    cfg = given.load(settings=plain, space=with_axes(given.file, axes))
    from jobs.commands.board import Board
    from jobs.tune import run
    from s2m_ray.report.sweep import result_table, sentences
    from s2m_ray.tuning.standing import Quiet

    with Quiet() if as_json else Board() as board:
        result = run(cfg, board)
    objective, out = cfg.sweep.objective, cfg.out
    for name, reason in sorted(result.failed.items()):
        say(f"{out}: trial {name} failed {cfg.sweep.retries + 1} times, and again by itself: {reason}")
    if not result.trained_now:
        say(f"{out}: complete already, nothing to train")
    rows = table(result_table(result.rows, result.choice, list(cfg.axes), objective))
    lines = "\n".join(sentences(result.choice, result.header, objective))
    give(as_json, {"sweep": out, **result.header}, f"{rows}\n\n{lines}\n\nreport: {Path(out) / 'report.html'}")
