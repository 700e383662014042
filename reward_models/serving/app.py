"""The HTTP application: the routes of all protocols, of operators, and the handling of errors."""

from __future__ import annotations

from typing import Any

from reward_models.extras import needs

with needs("serve"):
    from fastapi import FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

from reward_models.serving import protocols
from reward_models.serving.bodies import Models, Problem, ReloadRequest, ScoreRequest, ScoreResponse, Served, State
from reward_models.serving.guard import Guard, limited_route, refuse
from reward_models.serving.limits import Limits, Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.registry import Registry
from reward_models.serving.results import Context

MAX_PROBLEMS = 5  # errors that are listed of an invalid body
ABOUT = (
    "Scores of reward models and of mixtures of rewards. A score depends on the conversation alone, not on its batch."
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Not JSON, or nested too deeply; a malformed Host."},
    401: {"model": Problem, "description": "No token, or a wrong one."},
    403: {"model": Problem, "description": "The server needs a token for this."},
    404: {"model": Problem, "description": "No model of that name."},
    413: {"model": Problem, "description": "More bytes, values, conversations or tokens than one request may have."},
    422: {"model": Problem, "description": "Not a valid request."},
    429: {"model": Problem, "description": "The queue is full; Retry-After says when to try again."},
    500: {"model": Problem, "description": "The model failed."},
    503: {"model": Problem, "description": "The server is shutting down."},
    504: {"model": Problem, "description": "No answer within the deadline."},
}


def build(registry: Registry, limits: Limits, metrics: Metrics, *, token: str | None = None) -> Guard:
    """The whole application.

    Args:
        token: the bearer token of clients; without one there is no reloading over HTTP.
    """
    app = FastAPI(title="Keel", description=ABOUT, version="1", responses=PROBLEMS, redoc_url=None)
    route_class = limited_route(limits)
    app.router.route_class = route_class
    app.include_router(protocols.router(registry, metrics, route_class))

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return refuse(error.status, str(error), {"Retry-After": str(error.retry_after)} if error.retry_after else None)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:MAX_PROBLEMS]]
        return refuse(422, "; ".join(found))

    @app.post("/v1/score")
    async def score(body: ScoreRequest) -> ScoreResponse:
        """Score conversations. One that cannot be scored has an error in its result; the others are scored."""
        name, service = registry.get(body.model)
        context = Context(body.domains, body.step, body.columns)
        results = (await service.score(body.conversations, context)).results  # type: ignore[arg-type]
        metrics.outcomes(name, results)
        return ScoreResponse(model=name, task=service.task, manifest=service.manifest, results=results)

    @app.post("/v1/reload")
    async def reload(body: ReloadRequest) -> Models:
        """Load a model again from its directory; no request is dropped. Answers when the old model is unloaded."""
        if token is None:
            raise Refused(403, "reloading over HTTP needs a server with a token; SIGHUP does the same")
        return _models(registry, await registry.reload(body.model))

    @app.get("/models")
    async def models() -> Models:
        """List the models and mixers."""
        return _models(registry)

    @app.get("/health")
    async def health() -> State:
        """Report that the process is alive."""
        return State(status="draining" if registry.draining else "ok")

    @app.get("/ready")
    async def ready() -> State:
        """Report that requests are accepted."""
        return State(status="ready")

    @app.get("/metrics", response_class=Response)
    async def figures() -> Response:
        """Metrics in Prometheus' format."""
        metrics.waiting_now(registry.waiting())
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    paths = frozenset(app.openapi()["paths"]) | {"/openapi.json", "/docs"}
    return Guard(app, registry=registry, limits=limits, metrics=metrics, token=token, paths=paths)


def _models(registry: Registry, names: list[str] | None = None) -> Models:
    known = registry.describe()
    return Models(models=[Served(**each) for each in known if names is None or each["name"] in names])
