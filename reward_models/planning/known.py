"""Sizes of public models by their names on the hub, from their ``config.json``: for plans where the hub is not reached.

``parameters``: as the hub counts them in the files of the model; a test compares the formulas with it.
"""

from __future__ import annotations

from typing import Any


def _qwen(
    model_type: str,
    names: list[str],
    sizes: tuple[int, int, int, int, int, int],
    tied: bool,
    parameters: int,
    **more: Any,
) -> dict[str, Any]:
    hidden, inner, layers, heads, keys, vocabulary = sizes
    return {
        "names": names,
        "source": f"https://huggingface.co/{names[0]}/blob/main/config.json",
        "parameters": parameters,
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        **more,
    }


def _qwen25(size: str, sizes: tuple[int, int, int, int, int, int], tied: bool, parameters: int) -> dict[str, Any]:
    names = [f"Qwen/Qwen2.5-{size}", f"Qwen/Qwen2.5-{size}-Instruct"]
    if size in ("1.5B", "7B", "72B"):
        names += [f"Qwen/Qwen2.5-Math-{size}", f"Qwen/Qwen2.5-Math-{size}-Instruct"]
    return _qwen("qwen2", names, sizes, tied, parameters)


def _qwen3(size: str, sizes: tuple[int, int, int, int, int, int], tied: bool, parameters: int) -> dict[str, Any]:
    names = [f"Qwen/Qwen3-{size}", f"Qwen/Qwen3-{size}-Base"]
    return _qwen("qwen3", names, sizes, tied, parameters, head_dim=128)


def _llama(names: list[str], sizes: tuple[int, int, int, int, int, int], tied: bool, parameters: int) -> dict[str, Any]:
    return _qwen("llama", names, sizes, tied, parameters)


def _experts(
    names: list[str], sizes: tuple[int, int, int, int, int, int], width: int, parameters: int
) -> dict[str, Any]:
    experts = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": width}
    return _qwen("qwen3_moe", names, sizes, False, parameters, head_dim=128, **experts)


DEEPSEEK_V3: dict[str, Any] = {
    "names": [
        *("deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3-Base", "deepseek-ai/DeepSeek-R1"),
        "deepseek-ai/DeepSeek-R1-Zero",
    ],
    "source": "https://huggingface.co/deepseek-ai/DeepSeek-V3/blob/main/config.json; 671B parameters, 37B of them "
    "active: arXiv:2412.19437",
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "tie_word_embeddings": False,
}

# hidden, inner, layers, heads, key-value heads, vocabulary
KNOWN: list[dict[str, Any]] = [
    DEEPSEEK_V3,
    _qwen25("0.5B", (896, 4864, 24, 14, 2, 151936), True, 494_032_768),
    _qwen25("1.5B", (1536, 8960, 28, 12, 2, 151936), True, 1_543_714_304),
    _qwen25("3B", (2048, 11008, 36, 16, 2, 151936), True, 3_085_938_688),
    _qwen25("7B", (3584, 18944, 28, 28, 4, 152064), False, 7_615_616_512),
    _qwen25("14B", (5120, 13824, 48, 40, 8, 152064), False, 14_770_033_664),
    _qwen25("32B", (5120, 27648, 64, 40, 8, 152064), False, 32_763_876_352),
    _qwen25("72B", (8192, 29568, 80, 64, 8, 152064), False, 72_706_203_648),
    _qwen3("0.6B", (1024, 3072, 28, 16, 8, 151936), True, 596_049_920),
    _qwen3("1.7B", (2048, 6144, 28, 16, 8, 151936), True, 1_720_574_976),
    _qwen3("4B", (2560, 9728, 36, 32, 8, 151936), True, 4_022_468_096),
    _qwen3("8B", (4096, 12288, 36, 32, 8, 151936), False, 8_190_735_360),
    _qwen3("14B", (5120, 17408, 40, 40, 8, 151936), False, 14_768_307_200),
    _qwen3("32B", (5120, 25600, 64, 64, 8, 151936), False, 32_762_123_264),
    _experts(["Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B-Base"], (2048, 6144, 48, 32, 4, 151936), 768, 30_532_122_624),
    _experts(["Qwen/Qwen3-235B-A22B"], (4096, 12288, 94, 64, 4, 151936), 1536, 235_093_634_560),
    _llama(
        ["meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct"],
        (2048, 8192, 16, 32, 8, 128256),
        True,
        1_235_814_400,
    ),
    _llama(
        ["meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.2-3B-Instruct"],
        (3072, 8192, 28, 24, 8, 128256),
        True,
        3_212_749_824,
    ),
    _llama(
        [
            *("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"),
            *("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ],
        (4096, 14336, 32, 32, 8, 128256),
        False,
        8_030_261_248,
    ),
    _llama(
        ["meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"],
        (8192, 28672, 80, 64, 8, 128256),
        False,
        70_553_706_496,
    ),
    _llama(["meta-llama/Llama-3.1-405B"], (16384, 53248, 126, 128, 8, 128256), False, 405_853_388_800),
    _llama(
        [*("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct")],
        (576, 1536, 30, 9, 3, 49152),
        True,
        134_515_008,
    ),
]
