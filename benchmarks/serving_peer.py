"""The peer of ``serving.py``: OpenRLHF's reward server, ``openrlhf/cli/serve_rm.py``, from a checkout.

``RewardModelProxy`` is imported from github.com/OpenRLHF/OpenRLHF; the HTTP handler around it, which cannot be
imported, is copied from the same file. Two things differ: packages that other parts of it import and that are not
installed, such as ``flash_attn``, are empty modules; and it loads fp32 unless ``--dtype`` says otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch

from reward_models.inference.reward_model import DTYPES


def serve_peer(arguments: argparse.Namespace) -> None:
    """OpenRLHF's server: its class, and the lines of its main program around it."""
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

    torch.set_num_threads(arguments.threads)
    proxy = _proxy(arguments)
    logger = logging.getLogger("openrlhf.cli.serve_rm")
    app = FastAPI()

    async def get_reward(request: Request) -> JSONResponse:
        data = await request.json()
        queries = data.get("query")
        rewards = proxy.get_reward(queries)
        result = {"rewards": rewards, "scores": rewards, "extra_logs": {"dummy_scores": rewards}}
        logger.info(f"Sent JSON: {result}")
        return JSONResponse(result)

    get_reward.__annotations__["request"] = Request
    app.post("/get_reward")(get_reward)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="info")


def _proxy(arguments: argparse.Namespace) -> Any:
    sys.path.insert(0, str(arguments.openrlhf))
    while True:
        try:
            module = importlib.import_module("openrlhf.cli.serve_rm")
            break
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("openrlhf"):
                raise
            sys.modules[error.name] = _Empty(error.name)
    dtype = DTYPES[arguments.dtype]
    sys.modules["openrlhf.utils.utils"].convert_to_torch_dtype = lambda name: dtype  # type: ignore[attr-defined]
    return module.RewardModelProxy(
        SimpleNamespace(
            reward=SimpleNamespace(model_name_or_path=str(arguments.model), normalize_enable=False),
            ds=SimpleNamespace(
                attn_implementation="sdpa",
                experts_implementation=None,
                param_dtype="bf16",
                load_in_4bit=False,
                value_head_prefix="score",
                packing_samples=False,
            ),
            data=SimpleNamespace(disable_fast_tokenizer=False, max_len=arguments.peer_max_len),
            batch_size=None,
        )
    )


class _Empty(ModuleType):
    """A module of which anything can be imported and nothing used."""

    __path__: list[str] = []  # noqa: RUF012 (a package)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(side_effect=ImportError(f"{self.__name__} is not installed"))


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", type=Path, required=True, metavar="DIR")
    made.add_argument("--openrlhf", type=Path, required=True, help="checkout of OpenRLHF")
    made.add_argument("--port", type=int, required=True)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    made.add_argument("--peer-max-len", type=int, default=2048)
    serve_peer(made.parse_args())


if __name__ == "__main__":
    main()
