"""The settings of ``keel data curate`` where an endpoint judges. Kept apart from the command: its imports are slow."""

from __future__ import annotations

from dataclasses import dataclass, fields

from reward_models.data.curation.selection import CurationConfig
from reward_models.endpoint.client import EndpointConfig


@dataclass(frozen=True, kw_only=True)
class EndpointCuration(CurationConfig):
    """Curation with a chat model behind an endpoint as the judge.

    Attributes:
        endpoint: how the judge is called; ``base_url`` and ``model`` are --judge and --judge-model.
    """

    endpoint: EndpointConfig

    @property
    def curation(self) -> CurationConfig:
        """The settings without the endpoint's: what the result depends on beside the judge."""
        return CurationConfig(**{each.name: getattr(self, each.name) for each in fields(CurationConfig)})
