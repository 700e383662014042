"""Membership: the accounts that see a project. Archiving: an archived project takes no more votes."""

from __future__ import annotations

from sqlalchemy import Select, delete, false, or_, select
from sqlalchemy.orm import Session

from annotation_ui.store.accounts import AccountError, UnknownAccount, find_user
from annotation_ui.store.projects import ProjectError, UnknownProject, find_project
from annotation_ui.store.service_tables import Member
from annotation_ui.store.tables import Event, Project, User


def visible(user: User) -> Select[Project]:
    """The projects that ``user`` may see: an admin all of them; others those for everybody and their own."""
    wanted = select(Project)
    if user.role == "admin":
        return wanted
    mine = select(Member.project_id).where(Member.user_id == user.id)
    return wanted.where(or_(Project.members_only == false(), Project.id.in_(mine)))


def find_visible(session: Session, user: User, name: str | None) -> Project:
    """The project ``name``, or the only one there is.

    Raises:
        ProjectError: there is none that ``user`` may see; one that exists is not told from one that does not.
    """
    found = session.scalar(visible(user).where(Project.name == name)) if name else None
    if found is not None:
        return found
    if user.role == "admin":
        return find_project(session, name)  # says what there is
    names = [project.name for project in session.scalars(visible(user).order_by(Project.name))]
    if not name and len(names) == 1:
        return find_project(session, names[0])
    known = f"there are: {', '.join(names)}" if names else "there is none for you yet"
    raise UnknownProject(f"no project {name!r}; {known}" if name else f"name a project; {known}")


def may_see(session: Session, user: User, project: Project) -> bool:
    if user.role == "admin" or not project.members_only:
        return True
    return session.get(Member, (project.id, user.id)) is not None


def members_of(session: Session, project: Project) -> list[str]:
    """The names of the members, in order."""
    wanted = select(User.name).join(Member, Member.user_id == User.id).where(Member.project_id == project.id)
    return list(session.scalars(wanted.order_by(User.name)))


def add_member(session: Session, project: Project, name: str, *, by: str, now: float) -> None:
    """Let an account see a project that is for members only.

    Raises:
        UnknownAccount: there is no such account.
    """
    user = find_user(session, name)
    if user is None:
        raise UnknownAccount(f"there is no user {name!r}")
    if session.get(Member, (project.id, user.id)) is None:
        session.add(Member(project_id=project.id, user_id=user.id))
        _note(session, project, "member added", user, by, now)


def remove_member(session: Session, project: Project, name: str, *, by: str, now: float) -> None:
    """End a membership. What the member judged stays.

    Raises:
        AccountError: the account is no member.
    """
    user = find_user(session, name)
    if user is None or session.get(Member, (project.id, user.id)) is None:
        raise AccountError(f"{name!r} is no member of {project.name!r}")
    session.execute(delete(Member).where(Member.project_id == project.id, Member.user_id == user.id))
    _note(session, project, "member removed", user, by, now)


def _note(session: Session, project: Project, kind: str, user: User, by: str, now: float) -> None:
    session.flush()
    session.add(Event(at=now, actor=by, kind=kind, project=project.name, detail={"user": user.id}))


def set_members_only(session: Session, project: Project, only: bool, *, by: str, now: float) -> None:
    """Restrict a project to its members and admins, or open it to every account."""
    if project.members_only != only:
        project.members_only = only
        kind = "restricted to members" if only else "opened to all accounts"
        session.add(Event(at=now, actor=by, kind=kind, project=project.name, detail={}))


def archive(session: Session, project: Project, *, by: str, now: float) -> None:
    """End the work on a project: it takes no more votes, and everything in it stays readable."""
    if project.archived is None:
        project.archived = now
        session.add(Event(at=now, actor=by, kind="project archived", project=project.name, detail={}))


def restore(session: Session, project: Project, *, by: str, now: float) -> None:
    """Open an archived project again."""
    if project.archived is not None:
        project.archived = None
        session.add(Event(at=now, actor=by, kind="project restored", project=project.name, detail={}))


def require_open(project: Project) -> None:
    """Raise :class:`~annotation_ui.store.projects.ProjectError` if the project takes no more votes."""
    if project.archived is not None:
        raise ProjectError(f"the project {project.name!r} is archived and takes no more votes")
