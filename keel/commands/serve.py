"""``keel serve``: serve the models and mixers that are named on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keel.commands.options import Device, DtypeOption, MaxTokens
from keel.failures import failures

if TYPE_CHECKING:
    from reward_models.serving.service import Service

TOKEN = "KEEL_SERVE_TOKEN"
Named = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=DIR", help="A reward model and the name it is served under. Repeatable."),
]
Mixers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=CONFIG",
        help="The rewards of a configuration of keel train align, and the name they are served under. Repeatable.",
    ),
]


@failures("serve")
def serve_command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Limits, e.g. queue=8192 deadline=60; all: `keel config serve`."),
    ] = None,
    model: Named = None,
    mixer: Mixers = None,
    host: Annotated[
        str, typer.Option(help=f"Address to listen on; other than this machine's own only with a token in ${TOKEN}.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    certificate: Annotated[Path | None, typer.Option(help="TLS: a PEM file with the certificate chain.")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS: the PEM file of its private key.")] = None,
    device: Device = None,
    dtype: DtypeOption = None,
    max_tokens: MaxTokens = None,
) -> None:
    """Serve reward models and mixtures of rewards over HTTP, to any number of clients at once.

    SIGTERM finishes the requests in progress and stops; SIGHUP loads the models again. docs/serving.md describes the
    protocols.
    """
    from reward_models.runtime.config import load_config
    from reward_models.serving.limits import Limits
    from reward_models.serving.metrics import Metrics
    from reward_models.serving.registry import Registry
    from reward_models.serving.server import Address, serve

    def load_model(name: str, path: str) -> Service:
        from reward_models.inference.reward_model import RewardModel
        from reward_models.serving.model_service import ModelService

        loaded = RewardModel.load(path, device=device, dtype=dtype, max_tokens=max_tokens)
        return ModelService(name, loaded, limits, metrics)

    def load_mix(name: str, path: str) -> Service:
        from align.bridges.service import load_mixer

        return load_mixer(name, path, limits, metrics)

    token = os.environ.get(TOKEN) or None
    address = Address(host=host, port=port, certificate=certificate, key=key, token=token)
    limits, metrics = load_config(Limits, overrides=overrides or []), Metrics()
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
