"""``s2m train`` and ``tune``: vectors to a joint space."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Address, ConfigFile, Json, Settings, Workers, app
from jobs.commands.output import give, say, table


@app.command()
def train(
    speech: Annotated[str, typer.Option(help="Store of the speech: a folder, a Parquet file, or the URI of one.")],
    music: Annotated[str, typer.Option(help="Store of the music.")],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.")],
    framework: Annotated[
        str | None, typer.Option(help="triplet, triplet_sp, triplet_soft or triplet_sp_soft.")
    ] = None,
    regulariser: Annotated[str | None, typer.Option(help="Of the soft frameworks: emosim or ranksim.")] = None,
    emo_lambda: Annotated[float | None, typer.Option(help="Weight of the regulariser.")] = None,
    margin: Annotated[float | None, typer.Option(help="Margin of the triplet loss, cosine units.")] = None,
    modality: Annotated[
        str | None, typer.Option(help="Of the speech: audio, text, fusion, late_fusion or masking_fusion.")
    ] = None,
    speech_text: Annotated[str | None, typer.Option(help="The fusions: store of the speech's words.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="sp: word vectors, GloVe's text format (.gz too); none: built-in ones.")
    ] = None,
    parity: Annotated[
        bool, typer.Option("--parity", help="As the original code, quirks included: parity.* and fit.patience=5.")
    ] = False,
    seeds: Annotated[str | None, typer.Option(help="A count (5 = seeds 0..4) or a list (3,7,9).")] = None,
    holdout_speakers: Annotated[
        str | None, typer.Option(help="Early stopping on these speakers of train, not on valid: 17,18,19.")
    ] = None,
    holdout_music: Annotated[
        float | None, typer.Option(help="Early stopping on this share of the training music.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Train the joint speech-music space, all seeds at once."""
    from s2m_ray.config.loading import load
    from s2m_ray.config.training import ParityConfig, TrainConfig, parse_seeds

    cfg = load(
        TrainConfig,
        config,
        [*(ParityConfig.settings() if parity else ()), *(settings or ())],
        speech=speech,
        music=music,
        out=out,
        modality=modality,
        speech_text=speech_text,
        words=words,
        loss__framework=framework,
        loss__regulariser=regulariser,
        loss__emo_lambda=emo_lambda,
        loss__margin=margin,
        seeds=parse_seeds(seeds) if seeds else None,
        holdout__speakers=tuple(holdout_speakers.split(",")) if holdout_speakers else None,
        holdout__music=holdout_music,
        resources__workers=workers,
        resources__address=address,
    )
    from jobs.commands.progress import Display
    from jobs.train import run

    with Display() as progress:
        result = run(cfg, progress)
    if not result.trained_now:
        say(f"{out}: complete already, nothing to do")
    elif len(result.trained_now) < len(cfg.seeds):
        say(f"{out}: resumed, seeds {list(result.trained_now)} were missing")
    for epochs in sorted(set(result.resumed.values())):
        begun = [seed for seed, done in result.resumed.items() if done == epochs]
        say(f"{out}: seeds {begun} went on after {epochs} epochs")
    text = f"{out}: {cfg.loss.framework}, seeds {list(cfg.seeds)}, {result.header['items']}"
    give(as_json, {"checkpoint": out, "trained_now": result.trained_now, **result.header}, text)


@app.command()
def tune(
    speech: Annotated[str, typer.Option(help="Store of the speech: a folder, a Parquet file, or the URI of one.")],
    music: Annotated[str, typer.Option(help="Store of the music.")],
    out: Annotated[Path, typer.Option(help="Folder of the sweep to write, or to go on with.")],
    emo_lambda: Annotated[str | None, typer.Option(help="Weights of the regulariser: 0,0.5,1.")] = None,
    margin: Annotated[str | None, typer.Option(help="Margins of the triplet loss: 0.2,0.4,0.6.")] = None,
    framework: Annotated[str | None, typer.Option(help="triplet_soft,triplet_sp_soft, ...")] = None,
    regulariser: Annotated[str | None, typer.Option(help="emosim,ranksim")] = None,
    modality: Annotated[str | None, typer.Option(help="Of the speech, as for `s2m train`.")] = None,
    speech_text: Annotated[str | None, typer.Option(help="The fusions: store of the speech's words.")] = None,
    seeds: Annotated[str | None, typer.Option(help="A count (5 = seeds 0..4) or a list (3,7,9).")] = None,
    search: Annotated[str | None, typer.Option(help="grid (default), random or optuna.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Configurations of a random or Optuna search.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="none (default), or asha: ends what falls behind.")] = None,
    metric: Annotated[str | None, typer.Option(help="That chooses: nDCG (default), P or MRR.")] = None,
    holdout_speakers: Annotated[
        str | None, typer.Option(help="Choose and stop early by these speakers of train, not by valid: 17,18,19.")
    ] = None,
    holdout_music: Annotated[float | None, typer.Option(help="And by this share of the training music.")] = None,
    test_split: Annotated[
        str | None, typer.Option(help="Looked at once, by the winner and the baseline: test (default) or valid.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=0, help="Packs of trials at a time; 0: as many as fit.")
    ] = None,
    workers_per_trial: Annotated[int | None, typer.Option(min=1, help="Workers that share out a pack.")] = None,
    log_to: Annotated[str | None, typer.Option(help="mlflow, wandb or both: mlflow,wandb.")] = None,
    address: Address = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Search settings over several seeds: which is best, and is the gain real? --set key=1,2,3 is searched too."""
    from s2m_ray.config.loading import load
    from s2m_ray.config.space import split_settings
    from s2m_ray.config.training import parse_seeds
    from s2m_ray.config.tuning import TuneConfig, with_axes

    plain, axes = split_settings(settings or ())
    given = {
        "loss.emo_lambda": emo_lambda,
        "loss.margin": margin,
        "loss.framework": framework,
        "loss.regulariser": regulariser,
        "modality": modality,
    }
    axes |= {key: value for key, value in given.items() if value is not None}
    cfg = load(
        TuneConfig,
        config,
        plain,
        speech=speech,
        music=music,
        out=out,
        speech_text=speech_text,
        space=with_axes(config, axes),
        seeds=parse_seeds(seeds) if seeds else None,
        sweep__search=search,
        sweep__samples=samples,
        sweep__scheduler=scheduler,
        sweep__metric=metric,
        sweep__test_split=test_split,
        sweep__concurrent=concurrent,
        sweep__log_to=tuple(log_to.split(",")) if log_to else None,
        holdout__speakers=tuple(holdout_speakers.split(",")) if holdout_speakers else None,
        holdout__music=holdout_music,
        resources__workers=workers_per_trial,
        resources__address=address,
    )
    from jobs.commands.board import Board
    from jobs.tune import run
    from s2m_ray.report.sweep import result_table, sentences
    from s2m_ray.tuning.standing import Quiet

    with Quiet() if as_json else Board() as board:
        result = run(cfg, board)
    objective = cfg.sweep.objective
    for name, reason in sorted(result.failed.items()):
        say(f"{out}: trial {name} failed, {cfg.sweep.retries + 1} times and alone: {reason}")
    if not result.trained_now:
        say(f"{out}: complete already, nothing to train")
    found = table(result_table(result.rows, result.choice, list(cfg.axes), objective))
    lines = "\n".join(sentences(result.choice, result.header, objective))
    give(as_json, {"sweep": out, **result.header}, f"{found}\n\n{lines}\n\nreport: {out / 'report.html'}")
