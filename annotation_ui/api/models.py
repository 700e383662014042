"""The bodies of requests. Unknown keys and characters that databases do not store are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from annotation_ui.actions.item_filter import Agreement, ItemFilter, Sort
from annotation_ui.actions.model_view import ModelView
from annotation_ui.store.accounts import Role
from annotation_ui.store.forms import Kind
from annotation_ui.store.projects import LONGEST_LEASE
from annotation_ui.store.saved_views import LONGEST_NAME
from annotation_ui.store.tokens import DEFAULT_DAYS, Scope


def _storable(value: Any) -> Any:
    if isinstance(value, str) and ("\0" in value or (not value.isascii() and _has_surrogate(value))):
        raise ValueError("the text holds a NUL character or half of a surrogate pair, which databases do not store")
    return value


def _has_surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


Text = Annotated[str, BeforeValidator(_storable)]
Name = Annotated[Text, Field(min_length=1, max_length=100)]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ChangedSettings(Asked):
    votes_per_item: int | None = Field(default=None, ge=1, le=1000)
    gold_rate: float | None = Field(default=None, ge=0, le=0.5)
    repeat_rate: float | None = Field(default=None, ge=0, le=0.5)
    lease_seconds: float | None = Field(default=None, ge=10, le=LONGEST_LEASE)
    show_scores: bool | None = None
    training_items: int | None = Field(default=None, ge=0, le=100)
    pause_below: float | None = Field(default=None, ge=0, lt=1)
    hourly_rate: float | None = Field(default=None, ge=0, le=1e9)

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class NewSettings(ChangedSettings):
    eval_fraction: float | None = Field(default=None, ge=0, lt=1)


class NewProject(Asked):
    name: Name
    kind: Kind
    settings: NewSettings = NewSettings()
    guideline: Text | None = None


class ProjectChange(Asked):
    settings: ChangedSettings | None = None
    members_only: bool | None = None
    archived: bool | None = None


class NewGuideline(Asked):
    text: Text
    harms: list[Name] | None = None


class ViewFilter(Asked):
    """The conditions of a list of items; those of the parameters of its route."""

    q: Annotated[Text, Field(max_length=1000)] = ""
    label: Annotated[Text, Field(max_length=100)] = ""
    annotator: Annotated[Text, Field(max_length=100)] = ""
    guideline: int | None = Field(default=None, ge=1, lt=2**31)
    agreement: Agreement | None = None
    decided: bool | None = None
    source: Annotated[Text, Field(max_length=2000)] = ""
    shortest: int | None = Field(default=None, ge=0, lt=2**31)
    longest: int | None = Field(default=None, ge=0, lt=2**31)
    model: Annotated[Text, Field(max_length=100)] = ""
    model_view: ModelView | None = None
    sort: Sort = "oldest"

    def wanted(self) -> ItemFilter:
        return ItemFilter(**self.model_dump(exclude_none=True))


class NewView(Asked):
    name: Annotated[Text, Field(min_length=1, max_length=LONGEST_NAME)]
    shared: bool = False
    filter: ViewFilter = ViewFilter()


class NewUser(Asked):
    name: Name
    role: Role = "annotator"
    password: Annotated[Text, Field(max_length=1000)] | None = None


class UserChange(Asked):
    role: Role | None = None
    active: bool | None = None
    password: Annotated[Text, Field(max_length=1000)] | None = None


class NewToken(Asked):
    name: Name
    scopes: list[Scope] = Field(min_length=1)
    days: float = DEFAULT_DAYS


class NewWebhook(Asked):
    url: Annotated[Text, Field(max_length=2000)]
    events: list[Name] = Field(min_length=1)
    project: Name | None = None


class WebhookChange(Asked):
    active: bool


class ReleasedLeases(Asked):
    annotator: Name | None = None


Split = Literal["train", "eval"]


class NewSnapshot(Asked):
    name: Name | None = None
