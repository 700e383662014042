"""Adapters as vLLM servers read them: a folder for each set of weights, in peft's layout.

vLLM loads an adapter from a path (``/v1/load_lora_adapter``), so the folder must be on a file system that trainer and
servers share. Every set of weights has a name of its own: vLLM keeps the keys and values of prompts by the adapter's
name, and a request that names an adapter cannot be answered with the weights of another one.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

from reward_models.backbone.pretrained import save_adapter
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import full_weights

ADAPTER = "default"  # peft's name of the one that is trained


class AdapterFolder:
    """Writes the adapter in training into ``folder``, which holds nothing else.

    Args:
        model: peft's wrapper around the language model in training.

    Raises:
        ValueError: weights beside the adapter's are trained, which the servers would not learn of.
    """

    def __init__(self, folder: Path, model: Any, world: World) -> None:
        trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
        if beside := [name for name in trained if ".lora_" not in name]:
            raise ValueError(
                f"rollout.adapters=sent sends adapters alone, and {beside[0]} is trained beside them: set "
                "rollout.adapters=merged"
            )
        self._folder, self._model, self._world = folder.resolve(), model, world
        self._run = f"keel-{uuid.uuid4().hex}"

    @property
    def rank(self) -> int:
        """The rank of the adapter's matrices."""
        return int(self._model.peft_config[ADAPTER].r)

    def name(self, step: int) -> str:
        """The adapter's name after ``step`` updates."""
        return f"{self._run}-{step}"

    def write(self, step: int) -> Path:
        """Write the adapter after ``step`` updates, in the place of earlier ones. Every rank must call it."""
        weights = full_weights(self._model, self._world, ".lora_")
        place = self._folder / self.name(step)

        def save() -> None:
            self.clear()
            save_adapter(self._model, weights, place)

        self._world.on_main(save)
        return place

    def clear(self) -> None:
        """Remove what was written."""
        if self._world.is_main and self._folder.is_dir():
            shutil.rmtree(self._folder, ignore_errors=True)
