"""The environment variables that the project reads: ``keel config env``. A test refuses one that is not listed here."""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    """One environment variable and what it does."""

    name: str
    read_by: str
    meaning: str


_LAUNCHER = "set by deepspeed or torchrun; one process is a job of its own without them"
VARIABLES = (
    Variable("KEEL_ADMIN", "image of the annotation app", "name of the first account, an administrator"),
    Variable("KEEL_ANNOTATE_API_TOKEN", "annotation_ui.client", "token of the annotation app's REST interface"),
    Variable("KEEL_ANNOTATE_TOKEN", "keel annotate", "token in the app's address without accounts; default: random"),
    Variable("KEEL_CACHE", "keel train", "folder of data that were read and tokenized; default: ~/.cache/keel"),
    Variable("KEEL_DATABASE", "keel annotate", "the database, as --db"),
    Variable("KEEL_DATABASE_PASSWORD", "keel annotate, annotations:// sources", "password of a PostgreSQL database"),
    Variable("KEEL_ENVIRONMENT", "recipes for SLURM", "the virtual environment that the jobs activate"),
    Variable("KEEL_JUDGE_API_KEY", "keel data curate, keel annotate judge", "API key of the endpoint that judges"),
    Variable("KEEL_LOG_FORMAT", "keel annotate", "json: lines of JSON, with one for each request; default: text"),
    Variable("KEEL_METRICS_TOKEN", "keel annotate", "bearer token for /metrics; without it there is no such page"),
    Variable("KEEL_OIDC_CLIENT_ID", "keel annotate", "name of the app at the provider of single sign-on"),
    Variable("KEEL_OIDC_CLIENT_SECRET", "keel annotate", "its secret there; a public client has none"),
    Variable("KEEL_OIDC_GROUPS_CLAIM", "keel annotate", "claim with a person's groups; default: groups"),
    Variable("KEEL_OIDC_HOURS", "keel annotate", "hours until somebody has to sign in again; default: 12"),
    Variable("KEEL_OIDC_ISSUER", "keel annotate", "address of an OpenID Connect provider: turns single sign-on on"),
    Variable("KEEL_OIDC_NAME_CLAIM", "keel annotate", "claim with the name of a new account; preferred_username"),
    Variable("KEEL_OIDC_ROLES", "keel annotate", "roles by group, as in leads=admin; all=annotator"),
    Variable("KEEL_OIDC_SCOPES", "keel annotate", "scopes that are asked for; default: openid profile"),
    Variable("KEEL_PASSWORD", "keel annotate user", "password of the account; without it the command asks"),
    Variable("KEEL_PUBLIC_URL", "keel annotate", "the app's address for browsers, which single sign-on returns to"),
    Variable("KEEL_REWARD", "bridges", "the rewards: a configuration, a preset, or addresses of reward servers"),
    Variable("KEEL_REWARD_MODEL", "bridges", "name of the model or mixer on the reward servers"),
    Variable("KEEL_REWARD_STEP", "bridges", "the step of weights that follow a schedule, where the library tells none"),
    Variable("KEEL_REWARD_TOKEN", "bridges, keel train align", "bearer token of the reward servers"),
    Variable("KEEL_UNSCORABLE", "bridges", "reward of a sample that cannot be scored; without it that is an error"),
    Variable("KEEL_SERVE_TOKEN", "keel serve", "bearer token that clients must send; required beyond this machine"),
    Variable("KEEL_TRACEBACK", "every command", "if set, an expected error shows its traceback"),
    Variable("RANK", "keel train", f"rank of this process: {_LAUNCHER}"),
    Variable("WORLD_SIZE", "keel train", f"number of ranks: {_LAUNCHER}"),
    Variable("LOCAL_RANK", "keel train", f"rank on this machine, which selects the GPU: {_LAUNCHER}"),
    Variable("LOCAL_WORLD_SIZE", "keel train", f"number of ranks on this machine: {_LAUNCHER}"),
    Variable("LOCAL_SIZE", "keel train", "the same, as deepspeed's launcher names it"),
    Variable("MASTER_ADDR", "keel train", f"address of the main rank's machine: {_LAUNCHER}"),
    Variable("MASTER_PORT", "keel train", f"port on the main rank's machine: {_LAUNCHER}"),
    Variable(
        "OMP_NUM_THREADS",
        "keel train, keel run",
        "CPU threads of a rank; default: the cores divided by the ranks, and by the stages that run at the same time",
    ),
    Variable("GOMP_SPINCOUNT", "torch", "turns of a waiting thread before it sleeps; default here: 1000"),
    Variable("OMP_WAIT_POLICY", "keel, keel train", "how threads wait; if it is set, GOMP_SPINCOUNT is left alone"),
    Variable("PATH", "keel train", "extended by the virtual environment's scripts: DeepSpeed calls ninja"),
    Variable("PYTHONUNBUFFERED", "keel run", "set for the stages, so that their output arrives line by line"),
    Variable("HF_TOKEN", "huggingface_hub", "token of the Hugging Face hub, for keel push and private data"),
    Variable("HF_HUB_DISABLE_PROGRESS_BARS", "keel run", "default of stages: 1, no bars; 0 shows them in the log too"),
    Variable("HF_HUB_OFFLINE", "huggingface_hub", "1: use only models and data sets that are in the local cache"),
    Variable("TOKENIZERS_PARALLELISM", "tokenizers", "threads of a tokenizer; off in each process that tokenizes data"),
    Variable("CUDA_VISIBLE_DEVICES", "torch", "the GPUs that a process may use"),
    Variable("TORCH_EXTENSIONS_DIR", "torch", "where DeepSpeed's CPU optimizer is compiled; default: the home's cache"),
    Variable("VLLM_CPU_KVCACHE_SPACE", "keel train align", "GiB of rollout.engine=vllm_colocated's cache on a CPU; 1"),
    Variable("VLLM_ENABLE_V1_MULTIPROCESSING", "vllm", "set to 0 for rollout.engine=vllm_colocated"),
    Variable("VLLM_LOGGING_LEVEL", "vllm", "least level of what rollout.engine=vllm_colocated says; ERROR"),
    Variable("KEEL_DATA", "benchmarks", "directory with the data of the benchmarks"),
    Variable("KEEL_VLLM", ".ci/vllm, tests, benchmarks", "environment with vLLM for CPUs; default: ~/.cache/keel/vllm"),
    Variable("KEEL_TEST_SHARED", "tests", "folder that the processes of one run share; set by the first of them"),
    Variable("KEEL_TEST_OWNER", "tests", "the process that made that folder; set by it"),
    Variable("KEEL_TEST_POSTGRES_URL", "tests", "a PostgreSQL server for the tests of the annotation store"),
    Variable("KEEL_TEST_PICTURES", "tests", "directory for screenshots of the browser tests; without it none are kept"),
    Variable("KEEL_TEST_CHROMIUM", "tests, benchmarks", "path of Chromium for the browser tests"),
)
