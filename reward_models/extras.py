"""Optional packages: which extra of the distribution installs them, and the error where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# Extra → its use and the modules it installs, of those that our code imports.
_MODELS = ("torch", "transformers", "accelerate", "peft", "safetensors", "huggingface_hub", "tokenizers", "gguf")
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "models": ("trained reward models", _MODELS),
    "train": (
        "training, evaluation and data sets of the hub",
        (*_MODELS, "deepspeed", "datasets", "sklearn", "scipy", "matplotlib", "tensorboard"),
    ),
    "serve": (
        "serving rewards over HTTP",
        (*_MODELS, "fastapi", "starlette", "pydantic", "uvicorn", "h11", "prometheus_client", "typing_extensions"),
    ),
    "annotate": (
        "the annotation app",
        (
            *("gradio", "fastapi", "uvicorn", "sqlalchemy", "alembic", "mako"),
            *("markdown_it", "mdit_py_plugins", "latex2mathml", "pygments", "markupsafe", "prometheus_client"),
            "huggingface_hub",
        ),
    ),
    "reasoning": ("prompts of reasoning-gym and their verifier", ("reasoning_gym",)),
    "oidc": ("single sign-on in the annotation app", ("authlib", "joserfc")),
    "postgres": ("a PostgreSQL database", ("pg8000",)),
}


class MissingExtraError(ModuleNotFoundError):
    """A package is not installed that an extra brings. The message says what it is for, and the command."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """A block that imports packages of an extra.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    use, modules = EXTRAS[extra]
    try:
        yield
    except MissingExtraError:
        raise
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in modules:
            raise
        message = f"{module} is not installed; it is needed for {use}: pip install 'keel-align[{extra}]'"
        raise MissingExtraError(message, name=module) from None
