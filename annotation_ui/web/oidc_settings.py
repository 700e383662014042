"""The settings of single sign-on by OpenID Connect, from the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from annotation_ui.store.accounts import ROLES, Role

OTHERS = (  # variables that mean nothing without KEEL_OIDC_ISSUER
    "KEEL_OIDC_CLIENT_ID",
    "KEEL_OIDC_CLIENT_SECRET",
    "KEEL_OIDC_GROUPS_CLAIM",
    "KEEL_OIDC_HOURS",
    "KEEL_OIDC_NAME_CLAIM",
    "KEEL_OIDC_ROLES",
    "KEEL_OIDC_SCOPES",
)
LOGIN = "/login"
CALLBACK = "/login/provider/callback"
BACK_CHANNEL = "/login/provider/logout"  # which the provider tells of a log-out there
LONGEST_HOURS = 14 * 24.0


class OidcSettingsError(ValueError):
    """Single sign-on cannot be set up as the environment says; the message names the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """A provider, this app as its client, and what the provider's groups may do.

    Args:
        issuer: the provider's address, as its ID tokens name it.
        redirect: the address that the provider sends browsers back to.
        secret: of a confidential client; without one the app is a public client (PKCE protects the code either way).
        roles: role by group. A person has the highest role among those of the groups.
        groups_claim, name_claim: claims of the ID token, or else of the userinfo endpoint. A dotted name that is not a
            claim itself is a path (``realm_access.roles``).
        hours: how long a log-in holds; the groups are read anew at the next one.
    """

    issuer: str
    client_id: str
    redirect: str
    roles: Mapping[str, Role]
    secret: str = field(default="", repr=False)
    groups_claim: str = "groups"
    name_claim: str = "preferred_username"
    scopes: str = "openid profile"
    hours: float = 12.0

    @property
    def after_log_out(self) -> str:
        """The address that the provider sends browsers back to after a log-out."""
        return self.redirect.removesuffix(CALLBACK) + LOGIN

    def role_of(self, groups: list[str]) -> Role | None:
        """The highest role that one of ``groups`` gives."""
        given = {self.roles[group] for group in groups if group in self.roles}
        return next((role for role in reversed(ROLES) if role in given), None)


def read_settings(environment: Mapping[str, str], *, local: str | None = None) -> OidcSettings | None:
    """The settings in the environment; ``None`` without ``KEEL_OIDC_ISSUER``.

    Args:
        local: the app's address where it listens on this machine alone, used without ``KEEL_PUBLIC_URL``.

    Raises:
        OidcSettingsError: a variable is missing or makes no sense, or there are others without an issuer.
    """
    issuer = environment.get("KEEL_OIDC_ISSUER", "").strip()
    if not issuer:
        others = [name for name in OTHERS if environment.get(name, "").strip()]
        if others:
            raise OidcSettingsError(
                f"KEEL_OIDC_ISSUER is missing, without which there is no single sign-on, but {', '.join(others)} is "
                "set; set the issuer, or unset the others"
            )
        return None
    check_address(issuer, "KEEL_OIDC_ISSUER")
    client_id = environment.get("KEEL_OIDC_CLIENT_ID", "").strip()
    if not client_id:
        raise OidcSettingsError("KEEL_OIDC_CLIENT_ID is missing: the name of this app at the provider")
    public = (environment.get("KEEL_PUBLIC_URL", "").strip() or local or "").rstrip("/")
    if not public:
        raise OidcSettingsError(
            "KEEL_PUBLIC_URL is missing: the app's own address, such as https://annotate.example.org"
        )
    check_address(public, "KEEL_PUBLIC_URL")
    if urlsplit(public).path:
        raise OidcSettingsError("KEEL_PUBLIC_URL: the app has a host of its own, so its address has no path")
    scopes = environment.get("KEEL_OIDC_SCOPES", "openid profile").split()
    if "openid" not in scopes:
        raise OidcSettingsError("KEEL_OIDC_SCOPES has to hold openid")
    return OidcSettings(
        issuer=issuer,
        client_id=client_id,
        redirect=public + CALLBACK,
        roles=_roles(environment.get("KEEL_OIDC_ROLES", "")),
        secret=environment.get("KEEL_OIDC_CLIENT_SECRET", "").strip(),
        groups_claim=environment.get("KEEL_OIDC_GROUPS_CLAIM", "").strip() or "groups",
        name_claim=environment.get("KEEL_OIDC_NAME_CLAIM", "").strip() or "preferred_username",
        scopes=" ".join(scopes),
        hours=_hours(environment.get("KEEL_OIDC_HOURS", "").strip() or "12"),
    )


def check_address(address: str, name: str) -> None:
    """Raise :class:`OidcSettingsError` unless ``address`` is https, or http on this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        host, parts = "", urlsplit("")
    plain = not parts.query and not parts.fragment and parts.username is None
    if not host or not plain or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise OidcSettingsError(f"{name} is no https address: {address[:200]!r} (http is for this machine alone)")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _roles(text: str) -> dict[str, Role]:
    """``GROUP=ROLE; GROUP=ROLE``; a group may hold commas and equals signs, as those of LDAP do."""
    found: dict[str, Role] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        group, _, role = part.rpartition("=")
        if not group.strip() or role.strip() not in ROLES:
            raise OidcSettingsError(
                f"KEEL_OIDC_ROLES: {part[:100]!r} is not GROUP=ROLE with a role of {', '.join(ROLES)}"
            )
        if found.setdefault(group.strip(), cast(Role, role.strip())) != role.strip():
            raise OidcSettingsError(f"KEEL_OIDC_ROLES gives {group.strip()!r} two roles")
    if not found:
        raise OidcSettingsError(
            "KEEL_OIDC_ROLES is missing: which group has which role, as in 'leads=admin; all=annotator'"
        )
    return found


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 < hours <= LONGEST_HOURS:
        raise OidcSettingsError(
            f"KEEL_OIDC_HOURS: {text[:20]!r} is no number of hours above 0 and up to {LONGEST_HOURS:g}"
        )
    return hours
