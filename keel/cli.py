"""The root command. The sub-commands are in :mod:`keel.commands`; heavy imports wait until a command runs."""

from __future__ import annotations

from reward_models import threads  # noqa: F401 - before torch is loaded

# isort: split

import typer

from keel.commands import (
    annotate,
    average,
    config,
    curate,
    data,
    evaluate,
    plan,
    probe,
    push,
    report,
    rewards,
    run,
    sample,
    score,
    select,
    serve,
    train,
)

app = typer.Typer(
    help="Train reward models on preferences, and align language models with them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",  # Rich would take [a.jsonl] for a style, and keep the line breaks of docstrings
)
data.app.command("curate")(curate.curate_command)
data.app.command("select")(select.select_command)
app.command("run")(run.run_command)
app.command("demo")(run.demo_command)
app.command("config")(config.config_command)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(probe.app, name="probe")
app.command("plan")(plan.plan_command)
app.add_typer(rewards.app, name="rewards")
app.command("sample")(sample.sample_command)
app.command("average")(average.average_command)
app.command("score")(score.score_command)
app.command("report")(report.report_command)
app.command("serve")(serve.serve_command)
app.command("push")(push.push_command)
app.add_typer(annotate.app, name="annotate")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
