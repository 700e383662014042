"""``keel serve``: names on the command line become services."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keel.commands.data import failures

if TYPE_CHECKING:
    from reward_models.serving.service import Service

TOKEN = "KEEL_SERVE_TOKEN"
Named = Annotated[list[str] | None, typer.Option(metavar="NAME=DIR", help="A reward model under a name. Repeatable.")]
Mixers = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=CONFIG", help="The rewards of a configuration of keel train align. Repeatable."),
]


def serve_command(
    model: Named = None,
    mixer: Mixers = None,
    host: Annotated[str, typer.Option(help=f"Beyond this machine only with a token in ${TOKEN}.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    certificate: Annotated[Path | None, typer.Option(help="TLS: a PEM file with the certificate chain.")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS: the PEM file of its private key.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU if there is one.")] = None,
    dtype: Annotated[
        Literal["fp32", "bf16", "fp16"] | None, typer.Option(help="Of weights and computation; default: as saved.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of one forward pass; memory grows with it. Default: 16384, on a CPU 4096."),
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds until a request is given up.")] = 170.0,
    conversations: Annotated[int, typer.Option(min=1, help="Most conversations of one request.")] = 1024,
    queue: Annotated[int, typer.Option(min=1, help="Most conversations that wait for one model.")] = 4096,
) -> None:
    """Serve reward models and mixtures of rewards over HTTP, to any number of clients at once.

    SIGTERM finishes what was asked and leaves; SIGHUP loads the models anew. The protocols are in docs/serving.md.
    """
    from reward_models.inference.reward_model import RewardModel
    from reward_models.serving.limits import Limits
    from reward_models.serving.metrics import Metrics
    from reward_models.serving.registry import Registry
    from reward_models.serving.server import Address, serve
    from reward_models.serving.service import ModelService

    def load_model(name: str, path: str) -> Service:
        loaded = RewardModel.load(path, device=device, dtype=dtype, max_tokens=max_tokens)
        return ModelService(name, loaded, limits, metrics)

    def load_mix(name: str, path: str) -> Service:
        from align.bridges.service import load_mixer

        return load_mixer(name, path, limits, metrics)

    with failures():
        token = os.environ.get(TOKEN) or None
        address = Address(host=host, port=port, certificate=certificate, key=key, token=token)
        limits, metrics = Limits(conversations=conversations, queue=queue, deadline=deadline), Metrics()
        loaders: dict[str, Callable[[], Service]] = {}
        named = [("--model", word, load_model) for word in model or []]
        named += [("--mixer", word, load_mix) for word in mixer or []]
        for option, word, load in named:
            name, equals, path = word.partition("=")
            if not name or not equals or not path:
                raise ValueError(f"{option} {word}: write NAME=PATH")
            if name in loaders:
                raise ValueError(f"{option} {word}: the name {name} is taken")
            loaders[name] = partial(load, name, path)
        if not loaders:
            raise ValueError("nothing to serve: give --model NAME=DIR or --mixer NAME=CONFIG")
        registry = Registry(loaders, metrics)
        serve(registry, address, limits, metrics)
