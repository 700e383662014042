"""Requests to a vLLM server, by the paths that version 0.28 and later have.

Those that change weights exist only if the server was started with ``VLLM_SERVER_DEV_MODE=1``.
"""

from __future__ import annotations

import time
from typing import Any

import httpx2

from reward_models.http_retry import named, quoted

CONCURRENT = 64  # requests under way, one per prompt
IDLE_SECONDS = 4.0  # vLLM closes connections that were idle for 5 s
TRIES, FIRST_WAIT = 4, 0.5
POLL_SECONDS = 1.0
# After these failures a request was not answered, and may be sent again. A second try after an answer that takes too
# long would take as long again.
BROKEN = (httpx2.NetworkError, httpx2.RemoteProtocolError)


class RefusedRequestError(RuntimeError):
    """The server answered with another status than 200."""

    def __init__(self, path: str, response: httpx2.Response) -> None:
        super().__init__(f"{path}: {quoted(response)}")
        self.status = response.status_code


class VllmClient:
    """The client of the vLLM server at ``url``; many threads may use it.

    Args:
        seconds: longest time for an answer.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self.url = url.rstrip("/")
        limits = httpx2.Limits(
            max_connections=None, max_keepalive_connections=CONCURRENT, keepalive_expiry=IDLE_SECONDS
        )
        self._http = httpx2.Client(base_url=self.url, timeout=seconds, limits=limits)
        # vLLM closes a connection some time after it answered with an error. A request that is sent in between on the
        # same connection is lost; one that may not be sent again has a connection of its own.
        alone = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self._http_once = httpx2.Client(base_url=self.url, timeout=seconds, limits=alone)
        self._model: str | None = None

    def get(self, path: str) -> Any:
        return self._json(self._http, "GET", path, TRIES, {})

    def post(
        self, path: str, body: Any = None, *, again: bool = True, seconds: float | None = None, read: bool = True
    ) -> Any:
        """The JSON of the answer; ``None`` for an answer without a body.

        Args:
            read: false for an answer that is no JSON; ``None`` is returned.
            again: whether the request may reach the server twice.
            seconds: longest time for the answer; ``None``: the client's.

        Raises:
            RefusedRequestError: the status is not 200.
            httpx2.HTTPError: there is no answer.
        """
        options: dict[str, Any] = {} if seconds is None else {"timeout": seconds}
        options["json"] = {} if body is None else body
        client, tries = (self._http, TRIES) if again else (self._http_once, 1)
        return self._json(client, "POST", path, tries, options, read)

    def settings(self) -> dict[str, Any]:
        """The server's resolved configuration.

        Raises:
            ValueError: the server does not tell it.
        """
        try:
            return dict(self.get("/server_info?config_format=json")["vllm_config"])
        except RefusedRequestError as error:
            if error.status != 404:
                raise
            raise ValueError(
                "the server has no paths that change weights; start it with VLLM_SERVER_DEV_MODE=1 in its environment"
            ) from None

    def model(self) -> str:
        """The server's name of its model; asked for once."""
        if self._model is None:
            self._model = str(self.get("/v1/models")["data"][0]["id"])
        return self._model

    def complete(self, prompt: list[int], count: int, **sampling: Any) -> list[dict[str, Any]]:
        """``count`` responses to ``prompt``, as token ids with their log-probabilities, as the server puts it.

        Settings that are not given have the values that change nothing, and not those of the model's generation config.
        """
        neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_p": 0.0}
        form = {"return_token_ids": True, "return_tokens_as_token_ids": True, "logprobs": 0}
        body = {"model": self.model(), "prompt": [prompt], "n": count, **neutral, **form, **sampling}
        return list(self.post("/v1/completions", body)["choices"])

    def weight_version(self) -> str | None:
        """The name that the last weight update gave to the weights, ``default`` before the first one.

        ``None`` if the server is too old to know.
        """
        try:
            return str(self.get("/weight_info")["weight_version"])
        except RefusedRequestError as error:
            if error.status == 404:
                return None
            raise

    def reset_prefix_cache(self, seconds: float | None = None) -> None:
        """Discard the keys and values of earlier weights. ``RuntimeError`` if the server keeps them."""
        if not (self.post("/reset_prefix_cache", seconds=seconds) or {}).get("success", True):
            raise RuntimeError("the server kept its prefix cache: it has requests of somebody else under way")

    def close(self) -> None:
        self._http.close()
        self._http_once.close()

    @staticmethod
    def _json(
        client: httpx2.Client, method: str, path: str, tries: int, options: dict[str, Any], read: bool = True
    ) -> Any:
        for number in range(tries):
            last = number == tries - 1
            try:
                response = client.request(method, path, **options)
            except BROKEN:
                if last:
                    raise
            else:
                if response.status_code == 200:
                    return response.json() if response.content and read else None
                if last or response.status_code not in (502, 503):
                    raise RefusedRequestError(path, response)
            time.sleep(FIRST_WAIT * 2**number)
        raise AssertionError("unreachable")


def problem_of(url: str, seconds: float) -> str | None:
    """The reason why the server does not answer within ``seconds``; ``None`` if it does."""
    try:
        if httpx2.get(f"{url}/health", timeout=seconds).status_code == 200:
            return None
    except httpx2.HTTPError as error:
        return named(error)
    return "it answers /health with an error"


def wait_until_up(url: str, seconds: float) -> None:
    """Wait for the server to answer. ``TimeoutError`` if it does not within ``seconds``."""
    end = time.monotonic() + seconds
    while (problem := problem_of(url, max(POLL_SECONDS, end - time.monotonic()))) is not None:
        if time.monotonic() >= end:
            raise TimeoutError(f"not up after {seconds:g} s ({problem}); start it with: vllm serve MODEL …")
        time.sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))
