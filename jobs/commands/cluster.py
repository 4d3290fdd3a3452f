"""``s2m pipeline``, ``submit``, ``jobs`` and ``doctor``: many steps, and other machines."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.commands.options import EXIT_INPUT, EXIT_REJECTS, Address, Json, Workers, app
from jobs.commands.output import give, metrics_table, say, table


@app.command()
def pipeline(
    file: Annotated[Path, typer.Argument(help="TOML file with a table for each step.")],
    out: Annotated[Path | None, typer.Option(help="Folder for all outputs, instead of `out` in the file.")] = None,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run the steps of a file (manifest, embed, tune, train, evaluate, report) as one job; it resumes."""
    from s2m_ray.operations.recipe import read_recipe

    recipe = read_recipe(file, out=out, workers=workers, address=address)
    from jobs.commands.progress import Display
    from jobs.pipeline import run

    with Display() as progress:
        result = run(recipe, progress)
    lines = [f"{name}: {json.dumps(values)}" for name, values in result.steps.items()]
    if result.evaluation:
        lines += ["", metrics_table({"model": result.evaluation})]
    values = {"out": result.out, "steps": result.steps, "evaluation": result.evaluation, "report": result.report}
    give(as_json, values, "\n".join(lines))
    if result.over_limit:
        say(f"{result.out}: more rejects than max_rejects allows; see {result.out}/stores/*/rejects-*.parquet")
        raise typer.Exit(EXIT_REJECTS)


@app.command(context_settings={"ignore_unknown_options": True})
def submit(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND ...", help="An s2m command with its options.")],
    address: Annotated[
        str, typer.Option(help="URL of a job server, auto, or local for a cluster that ends with the command.")
    ] = "auto",
    shared: Annotated[
        list[Path] | None, typer.Option(help="Folder that all nodes have under this path. S2M_SHARED sets it too.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="Environment variable to pass on, by name; no secrets.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job and end with its code.")] = True,
    as_json: Json = False,
) -> None:
    """Run a command as a job of a Ray cluster: upload the working tree, follow the log, end with its exit code."""
    from jobs.submit import run
    from s2m_ray.operations.request import Request, shared_roots

    words = [*command, *(["--json"] if as_json and wait else [])]
    roots = (*shared_roots(os.environ.get("S2M_SHARED", "")), *(path.absolute() for path in shared or ()))
    words, inputs, outputs, files = submitted(words)
    request = Request(
        tuple(words), inputs=inputs, outputs=outputs, settings=files, env=tuple(env or ()), shared=roots
    )
    job_id, code = run(request, address, out=typer.echo, say=say, wait=wait)
    if not wait:
        give(as_json, {"job": job_id}, job_id)
    raise typer.Exit(code)


def submitted(words: list[str]) -> tuple[list[str], tuple[Any, ...], tuple[Any, ...], tuple[Path, ...]]:
    """A command line checked as if it ran here: its words, the places that it reads and writes, its TOML files."""
    from s2m_ray.operations.invocation import places, settled

    group = typer.main.get_command(app)
    name = words[0]
    inner = group.commands.get(name)  # type: ignore[attr-defined]
    if inner is None or name in ("submit", "jobs", "plan"):  # a plan measures one machine, in its own /tmp
        raise typer.BadParameter(f"'{name}' is no command that can be submitted")
    given = inner.make_context(name, list(words[1:])).params
    if "address" in given and given["address"] is None:
        words = [*words, "--address", "auto"]
    return (settled(words, given), *places(name, given))


jobs_app = typer.Typer(help="List the jobs of a cluster, read their logs, stop them, wait for them.")
app.add_typer(jobs_app, name="jobs")
Server = Annotated[str, typer.Option("--address", help="URL of the cluster's job server, or auto.")]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job, as `s2m submit` and `s2m jobs list` print it.")
]


@jobs_app.command("list")
def jobs_list(address: Server = "auto", as_json: Json = False) -> None:
    """List the jobs of a cluster, newest first."""
    from datetime import datetime

    from jobs.remote.client import Cluster
    from jobs.submit import describe

    found = [describe(job) for job in Cluster(address).jobs()]
    rows = [["job", "status", "exit", "started", "command"]]
    for job in found:
        code = "" if job["exit_code"] is None else str(job["exit_code"])
        started = datetime.fromtimestamp(job["started"]).isoformat(" ", "seconds") if job["started"] else "-"
        rows.append([job["job"], job["status"], code, started, job["command"]])
    give(as_json, {"jobs": found}, table(rows))


@jobs_app.command("logs")
def jobs_logs(
    job: JobId,
    address: Server = "auto",
    follow: Annotated[bool, typer.Option("--follow", help="Follow the log until the job ends.")] = False,
) -> None:
    """Print the log of a job. Its stdout goes to stdout, and everything else to stderr."""
    from jobs.remote.client import Cluster, lines_of
    from jobs.submit import show

    cluster = Cluster(address)
    cluster.job(job)
    lines = cluster.follow(job) if follow else iter(lines_of(cluster.logs(job)))
    for line in lines:
        show(line, out=typer.echo, say=say)


@jobs_app.command("stop")
def jobs_stop(job: JobId, address: Server = "auto", as_json: Json = False) -> None:
    """Ask a job to stop. It keeps the work that is done; submit the same command again to resume."""
    from jobs.remote.client import Cluster

    cluster = Cluster(address)
    was_running = cluster.stop(job)
    text = "is stopping" if was_running else f"had ended already: {cluster.job(job).status.value}"
    give(as_json, {"job": job, "stopping": was_running}, f"{job} {text}")


@jobs_app.command("wait")
def jobs_wait(job: JobId, address: Server = "auto") -> None:
    """Follow a job to its end, and end with its exit code."""
    from jobs.remote.client import Cluster
    from jobs.submit import follow

    raise typer.Exit(follow(Cluster(address), job, out=typer.echo, say=say))


def _absolute(text: str) -> str:
    return text if "://" in text else str(Path(text).absolute())


@app.command("cluster")
def cluster_command(
    copy: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to copy the files into.")] = None,
    as_json: Json = False,
) -> None:
    """List the files that start a Ray cluster (Docker, KubeRay, AWS, Google Cloud, SLURM), or copy them."""
    from jobs.remote.machines import cluster_files, copy_files

    files = copy_files(copy) if copy else cluster_files()
    give(as_json, {"files": files}, "\n".join(map(str, files)))


@app.command()
def doctor(
    address: Annotated[
        str,
        typer.Option(
            help="local: this machine; auto or HOST:PORT: every node; http://...: every node, through a job."
        ),
    ] = "local",
    storage: Annotated[
        list[str] | None,
        typer.Option(help="Folder or URI that jobs will use; every node must see the same."),
    ] = None,
    shared: Annotated[list[Path] | None, typer.Option(help="With http://...: as for `s2m submit`.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what this machine or a cluster can do, and what to mend; exit code 2 if something does not work."""
    if "://" in address:
        words = ["doctor", "--address", "auto", *(f"--storage={_absolute(text)}" for text in storage or ())]
        submit(words, address=address, shared=shared, as_json=as_json)
    from jobs.doctor import run, worst
    from s2m_ray.files.place import place
    from s2m_ray.operations.diagnosis import as_dicts

    found = run(address, [place(text) for text in storage or ()])
    rows = [["node", "check", "", "found", "fix"]]
    for node, findings in found.items():
        for finding in findings:
            rows.append([node, finding.name, finding.state, finding.found, finding.fix])
            node = ""
    give(
        as_json, {"state": worst(found), "nodes": {node: as_dicts(each) for node, each in found.items()}}, table(rows)
    )
    if worst(found) == "fail":
        raise typer.Exit(EXIT_INPUT)
