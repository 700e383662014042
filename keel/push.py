"""``keel push``: upload a trained model, its card and its evaluation to the Hugging Face hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, EvalResult, HfApi, ModelCard, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from align.reporting import manifest as policies
from reward_models.artifact import EVALUATION
from reward_models.data.manifest import MANIFEST

# The files of a model and of its history. Everything else that a run leaves (checkpoints, optimizer states, samples of
# prompts and responses, TensorBoard logs, files that somebody put there) is not uploaded.
FILES = frozenset(
    {
        *("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
        *("config.json", "generation_config.json", "adapter_config.json", "chat_template.jinja"),
        *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "spm.model"),
        *(MANIFEST, policies.MANIFEST, EVALUATION, "baseline_tfidf.json", "metrics.jsonl", "README.md"),
    }
)
NUMBERED = re.compile(r"model-\d{5}-of-\d{5}\.safetensors|plots/[a-z0-9_]+\.png")  # parts of a large model; pictures
TEXTS = (".json", ".jsonl", ".md", ".jinja", ".txt")
SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL")
LARGEST_TEXT = 64 * 2**20  # bytes
SHORTEST_SECRET = 8  # characters; a shorter value is in many texts by chance
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Upload:
    """The plan of an upload.

    Attributes:
        files: path in the repository → local file. ``left``: names that are not uploaded.
        card: the text of the README, in place of the local one.
    """

    directory: Path
    name: str
    files: dict[str, Path]
    left: list[str]
    card: str

    def lines(self, private: bool) -> list[str]:
        """The plan as lines of text."""
        sizes = [f"  {path} ({_size(file.stat().st_size)})" for path, file in self.files.items() if path != "README.md"]
        return [
            f"{self.directory} → {self.name} ({'private' if private else 'PUBLIC'}):",
            f"  README.md ({_size(len(self.card.encode()))}), the model card",
            *sizes,
            *([f"not uploaded: {', '.join(self.left)}"] if self.left else []),
        ]


def plan(directory: Path, name: str, evaluation: Path | None = None) -> Upload:
    """Decide what is uploaded.

    Args:
        directory: of a finished reward model or policy.
        name: ``owner/name`` on the hub.
        evaluation: an ``evaluation.json`` of ``keel evaluate rm`` to upload instead of the model's own.

    Raises:
        ValueError: no finished model, no name of that form, no evaluation there, a file to upload is a symbolic link
            or holds the value of a secret in the environment.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name on the hub; write owner/name")
    known = [file for file in (MANIFEST, policies.MANIFEST) if (directory / file).is_file()]
    if not known:
        raise ValueError(f"{directory} holds neither {MANIFEST} nor {policies.MANIFEST}: it is not a finished model")
    paths = [p for p in sorted(directory.rglob("*")) if p.is_file() or p.is_symlink()]
    names = {path.relative_to(directory).as_posix(): path for path in paths}
    files = {name: path for name, path in names.items() if name in FILES or NUMBERED.fullmatch(name)}
    _refuse_links(directory, files)  # before any of them is read
    manifest = json.loads((directory / known[0]).read_text(encoding="utf-8"))
    figures = _figures(evaluation or directory / EVALUATION, required=evaluation is not None)
    if evaluation is not None:
        files[EVALUATION] = evaluation
    left = sorted({name.partition("/")[0] for name in names.keys() - files.keys()})
    readme = directory / "README.md"
    card = ModelCard(readme.read_text(encoding="utf-8")) if readme.is_file() else policy_card(name, manifest)
    header: Any = card.data  # a ModelCardData; the library's annotation is less exact
    if results := eval_results(figures):
        header.model_name, header.eval_results = name.partition("/")[2], results
    _refuse_secrets(files, manifest)
    return Upload(directory, name, files, left, str(card))


def push(upload: Upload, *, private: bool = True) -> str:
    """Create the repository if there is none, and commit the files; returns the commit's address.

    A repository that exists keeps its visibility.

    Raises:
        ValueError: not logged in, the hub refuses, or the repository is public and ``private`` is wanted.
    """
    if get_token() is None:
        raise ValueError("not logged in to the hub: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(library_name="keel")
    operations = [CommitOperationAdd("README.md", upload.card.encode())]
    operations += [CommitOperationAdd(path, file) for path, file in upload.files.items() if path != "README.md"]
    try:
        try:
            exists_public = not api.model_info(upload.name).private
        except RepositoryNotFoundError:
            api.create_repo(upload.name, private=private)
        else:
            if private and exists_public:
                raise ValueError(f"{upload.name} is public; add --public if everybody may see this model")
        commit = api.create_commit(upload.name, operations, commit_message=f"Upload {upload.directory.name} with Keel")
    except HfHubHTTPError as error:
        raise ValueError(f"the hub refuses {upload.name}: {error}") from error
    return commit.commit_url


def eval_results(figures: Mapping[str, Any]) -> list[EvalResult]:
    """Figures of ``evaluation.json`` in the hub's format: the ``model-index`` of a card's header."""
    if not figures:
        return []
    metrics = {"helpful": ("accuracy",), "safety": ("auroc", "auprc", "f1")}[figures["kind"]]
    results = [
        _result(name, metric, each[metric])
        for name, each in figures.get("by_source", {}).items()
        for metric in metrics
        if each.get(metric) is not None
    ]
    bench = figures.get("rewardbench")
    if bench:
        dataset = "allenai/reward-bench" if bench["version"] == 1 else "allenai/reward-bench-2"
        title = "RewardBench" if bench["version"] == 1 else "RewardBench 2"
        scores = {title: bench["score"], **{f"{title} {name}": score for name, score in bench["sections"].items()}}
        results += [
            _result(name, "accuracy", score, dataset=dataset) for name, score in scores.items() if score is not None
        ]
    return results


def policy_card(name: str, manifest: Mapping[str, Any]) -> ModelCard:
    """The README of a policy: training writes none."""
    config = manifest["config"]
    base, rewards = config["model"]["path"], [each["term"] for each in config.get("rewards", [])]
    header = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["keel", "grpo" if rewards else "sft"],
        **({"base_model": base} if base and not Path(base).exists() else {}),
    }
    how = (
        f"by reinforcement learning (GRPO) for {manifest['steps']:,} steps, with the rewards {', '.join(rewards)}"
        if rewards
        else f"by supervised fine-tuning for {manifest['steps']:,} steps"
    )
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in header.items()),
        "---",
        f"# {name.partition('/')[2]}",
    ]
    text = f"A language model trained with Keel {how}. The resolved configuration and versions are in `policy.json`."
    return ModelCard("\n".join([*lines, "", text, ""]))


def _result(source: str, metric: str, value: float, *, dataset: str | None = None) -> EvalResult:
    return EvalResult(
        task_type="text-classification",
        dataset_type=dataset or source,
        dataset_name=source,
        metric_type=metric,
        metric_value=round(value, 4),
    )


def _figures(file: Path, *, required: bool) -> dict[str, Any]:
    if not file.is_file():
        if required:
            raise ValueError(f"no evaluation at {file}; it is the evaluation.json that keel evaluate rm writes")
        return {}
    figures = json.loads(file.read_text(encoding="utf-8"))
    if figures and figures.get("kind") not in ("helpful", "safety"):
        raise ValueError(f"{file} is not an evaluation of a reward model")
    return figures


def _refuse_links(directory: Path, files: Mapping[str, Path]) -> None:
    """``ValueError`` if a file or its folder is a symbolic link: it may lead to any file of this machine."""
    for name, path in files.items():
        for each in (path, *(parent for parent in path.parents if directory in parent.parents)):
            if each.is_symlink():
                raise ValueError(
                    f"{each} is a symbolic link to {each.readlink()}, which would be uploaded as {name}. If the file "
                    "belongs to the model, put a copy in the link's place; else remove the link"
                )


def _refuse_secrets(files: Mapping[str, Path], manifest: Any) -> None:
    """``ValueError`` if a text holds the value of a variable that the configuration names or that is named a secret."""
    named = set(re.findall(r"oc\.env:(\w+)", json.dumps(manifest)))
    secrets = {
        name: value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST_SECRET and (name in named or SECRET_NAME.search(name.upper()))
    }
    for path in files.values():
        if path.suffix in TEXTS and path.stat().st_size <= LARGEST_TEXT:
            text = path.read_text(encoding="utf-8", errors="replace")
            if found := [name for name, value in secrets.items() if value in text]:
                raise ValueError(
                    f"{path} holds the value of the environment variable {', '.join(found)}: take it out of the file "
                    "before it is uploaded"
                )


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:,.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} GB"
