"""Commands for a first installation without the demo, and the demo itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import Flask
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, ProgrammingError

from webapp import clock, demo
from webapp.crypto import new_secret
from webapp.database import writing
from webapp.doctor import examine
from webapp.extensions import db, settings
from webapp.forms.invalid import Invalid
from webapp.forms.settings import new_member, new_store, password_problem
from webapp.models import Membership, Role, User, Workspace
from webapp.schema import lacking, made_by_another_version
from webapp.services.oauth import token_keys
from webapp.services.workspaces import accounts, ingest_keys, invitations, members, stores, users


def register(app: Flask) -> None:
    """Add the commands to `flask --app wsgi`."""
    for group in (workspace, store, user, ingest_key, demo_group):
        app.cli.add_command(group)
    app.cli.add_command(doctor)
    app.cli.add_command(rotate_keys)


UNDEFINED_TABLE = "42P01"


class _Group(AppGroup):
    """Commands that need the database, and say so plainly where it is away or not made yet."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (OperationalError, ProgrammingError) as problem:
            # SQLite calls a missing table the one, PostgreSQL the other; else that other is a mistake of ours.
            if isinstance(problem, ProgrammingError) and getattr(problem.orig, "sqlstate", None) != UNDEFINED_TABLE:
                raise
            raise click.ClickException(
                "The database does not answer, or its tables are not made yet. "
                "Look with: flask --app wsgi doctor; make them with: flask --app wsgi db upgrade"
            ) from None


SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
workspace = _Group("workspace", help="Workspaces.")
store = _Group("store", help="Stores of a workspace.")
user = _Group("user", help="People who sign in.")
ingest_key = _Group("ingest-key", help="Keys of the ingest API.")
demo_group = AppGroup("demo", help="The demo workspace.")


def _workspace(slug: str) -> Workspace:
    found = db.session.scalar(select(Workspace).where(Workspace.slug == slug))
    if found is None:
        raise click.ClickException(f"There is no workspace {slug}.")
    return found


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What a form finds wrong, as the command's one sentence."""
    try:
        yield
    except Invalid as invalid:
        raise click.ClickException(" ".join(invalid.problems.values())) from None


@workspace.command("create")
@click.argument("slug")
@click.option("--name", default=None)
def create_workspace(slug: str, name: str | None) -> None:
    """Make a workspace. Its slug stands in its pages' addresses."""
    if not SLUG.fullmatch(slug):
        raise click.ClickException("A slug is 1 to 60 small letters, digits and hyphens, such as acme-shop.")
    if db.session.scalar(select(Workspace.id).where(Workspace.slug == slug)) is not None:
        raise click.ClickException(f"There is a workspace {slug} already.")
    with writing() as session:
        session.add(Workspace(slug=slug, name=name or slug.title(), version=1, created_at=clock.now()))
    click.echo(f"Workspace {slug} is there.")


@store.command("add")
@click.argument("external_id")
@click.option("--workspace", "slug", required=True)
@click.option("--name", default=None)
def add_store(external_id: str, slug: str, name: str | None) -> None:
    """Add a store, or rename it."""
    with _said_plainly():
        typed = new_store({"external_id": external_id, "name": name or external_id})
    stores.put(_workspace(slug).id, typed.external_id, typed.name)
    click.echo(f"Store {typed.external_id} is in {slug}.")


@user.command("add")
@click.argument("email")
@click.option("--workspace", "slug", default=None)
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.OWNER.value)
@click.option("--password", default=None, help="Generated and printed once where it is not given.")
def add_user(email: str, slug: str | None, role: str, password: str | None) -> None:
    """Add a person: an owner of a workspace, or a support agent (who sees every workspace)."""
    with _said_plainly():
        email = new_member({"email": email, "role": Role.OWNER.value, "password": password or ""}).email
    secret = password or new_secret()[:20]
    support = role == Role.SUPPORT.value
    if not support and slug is None:
        raise click.ClickException("An owner needs --workspace.")
    found = _workspace(slug) if slug else None
    known = users.by_email(email)
    if known is not None and found is not None and not support:
        _invite(known, found)
        if password:
            click.echo("The password you gave is not used. To change theirs: user password EMAIL.")
        return
    if known is not None:
        raise click.ClickException(f"{email} can sign in already.")
    with writing() as session:
        made = User(
            email=email,
            password_hash=users.hash_password(secret),
            is_support=support,
            created_at=clock.now(),
        )
        session.add(made)
        session.flush()
        if found is not None and not support:
            session.add(Membership(workspace_id=found.id, user_id=made.id, role=Role.OWNER, created_at=clock.now()))
    click.echo(f"{email} can sign in." + ("" if password else f" Password: {secret}"))


def _invite(person: User, into: Workspace) -> None:
    """Whoever has an account already comes in by a link, as those do whom an owner adds."""
    if person.disabled_at is not None:
        raise click.ClickException(f"{person.email} is switched off. Switch them on first: user switch EMAIL on.")
    with _said_plainly():
        members.add(into.id, person.email, Role.OWNER, None, None)
    token = invitations.make(into.id, person.id, Role.OWNER, None)
    click.echo(
        f"{person.email} has an account already. Give them this link: they are an owner of {into.slug} once they sign "
        "in with their own password, open it and press Join. It works for that account only, for 7 days. "
        "To take it back before: user uninvite EMAIL."
    )
    click.echo(f"Link: {settings().public_url}/join/{token}")


@user.command("uninvite")
@click.argument("email")
@click.option("--workspace", "slug", required=True)
def uninvite(email: str, slug: str) -> None:
    """Make void whatever link asks somebody into a workspace who has not joined yet."""
    into, person = _workspace(slug), users.by_email(email.strip().lower())
    if person is None:
        raise click.ClickException(f"Nobody signs in as {email}.")
    if members.one(into.id, person.id) is not None:
        raise click.ClickException(f"{person.email} has joined {slug}. An owner removes them in its settings.")
    invitations.take_back(into.id, person.id, None)
    click.echo(f"Links that asked {person.email} into {slug} work no more.")


@user.command("password")
@click.argument("email")
@click.option("--password", default=None, help="Generated and printed once where it is not given.")
def set_password(email: str, password: str | None) -> None:
    """Give somebody another password. Every browser of theirs is signed out."""
    wrong = password_problem(password) if password else None
    if wrong:
        raise click.ClickException(wrong)
    secret = password or new_secret()[:20]
    with _known(email):
        ended = accounts.set_password(email.strip().lower(), secret)
    click.echo(f"{email} signs in with it from now on; browsers signed out: {ended}.")
    if not password:
        click.echo(f"Password: {secret}")


@user.command("switch")
@click.argument("email")
@click.argument("on", type=click.Choice(["off", "on"]))
def switch_user(email: str, on: str) -> None:
    """Let nobody sign in as somebody any more, at once, or again."""
    with _known(email):
        ended = accounts.switch(email.strip().lower(), on=on == "on")
    click.echo(f"{email} is switched {on}; browsers signed out: {ended}.")


@contextmanager
def _known(email: str) -> Iterator[None]:
    try:
        yield
    except LookupError:
        raise click.ClickException(f"Nobody signs in as {email}.") from None


@ingest_key.command("create")
@click.option("--workspace", "slug", required=True)
@click.option("--name", default="command line")
def create_key(slug: str, name: str) -> None:
    """Make a key and print it once."""
    click.echo(ingest_keys.create(_workspace(slug).id, name, None))


@ingest_key.command("revoke")
@click.argument("key")
@click.option("--workspace", "slug", required=True)
def revoke_key(key: str, slug: str) -> None:
    """End a key at once: KEY as `create` printed it, or its number in the exported audit log."""
    workspace_id = _workspace(slug).id
    key_id = ingest_keys.number_of(workspace_id, key)
    if key_id is None or not ingest_keys.revoke(workspace_id, key_id, None):
        raise click.ClickException(f"{slug} has no such living key.")  # never the key: it may be another workspace's
    click.echo(f"Key {key_id} is revoked.")


@demo_group.command("seed")
def seed_demo() -> None:
    """Make the demo workspaces; refused unless everything is on this machine and Klaviyo is the sandbox."""
    refusal = demo.refusal(settings())
    missing = [] if refusal else lacking()
    if refusal or missing:
        raise click.ClickException(refusal or made_by_another_version(missing))
    demo.seed()
    click.echo("The demo workspaces are there.")


@click.command("doctor")
@with_appcontext
def doctor() -> None:
    """Check every setting, the database, Redis, the workers and Klaviyo, a line each; exits 1 where one is bad."""
    findings = list(examine(settings()))
    for finding in findings:
        click.echo(
            f"{finding.name}: BAD: {finding.problem}" if finding.problem else f"{finding.name}: ok, {finding.said}"
        )
    if any(finding.problem for finding in findings):
        raise SystemExit(1)


@click.command("rotate-keys")
@with_appcontext
def rotate_keys() -> None:
    """Encrypt every stored token with the newest key of TOKEN_KEYS; exits 1 where one cannot be opened."""
    done = token_keys.rotate()
    click.echo(f"{done.grants} grants are encrypted with the newest key now; {done.kept} were already.")
    click.echo(f"{done.authorizations} unfinished sign-ins at Klaviyo were dropped.")
    if done.unreadable:
        connections = ", ".join(str(connection_id) for connection_id in done.unreadable)
        raise click.ClickException(
            f"No key in TOKEN_KEYS opens the tokens of these connections: {connections}. "
            "Add the key they were made with, or let their owners reconnect them."
        )
    click.echo("Keep the first key of TOKEN_KEYS; the others may go.")
