"""Commands of the service: serve, its keys, pull and forget."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import Folder
from clickscape.cli.terminal import app
from clickscape.errors import ClickscapeError

keys = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="API keys of the service: add, list, revoke.")
app.add_typer(keys, name="keys", epilog="Example: clickscape keys add my-shop --role serve")


def _service(workspace: Path, *, migrate: bool = True, make: bool = False):  # type: ignore[no-untyped-def]
    try:
        from clickscape.service import run
    except ModuleNotFoundError as error:
        raise ClickscapeError(
            f"{error.name} is missing. Install the service: pip install 'clickscape[serve]'"
        ) from None
    if make and not workspace.exists() and workspace.absolute().parent.is_dir():
        from clickscape.workspace import Workspace

        terminal.out.print(f"made {Workspace.create(workspace).settings_path}")
    return run.open_service(workspace, migrate=migrate)


@app.command(epilog="Example: clickscape serve my-shop")
def serve(
    workspace: Annotated[
        Path, typer.Argument(help="Folder of the workspace; made where nothing is there yet.", show_default=False)
    ],
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: clickscape.toml, 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port to listen on. Default: clickscape.toml, 8080.")
    ] = None,
) -> None:
    """Serve creatives and count what they earn, with a page to make, review and watch them; ends with Ctrl-C.

    At its first start it makes a key to sign in with, and shows it once.
    """
    shop, engine, settings, _ = _service(workspace, make=True)
    from clickscape.service import jobs, run
    from clickscape.service.keys import create_key, in_use
    from clickscape.service.store import serving_lock

    host, port = host or settings.serve.host, port or settings.serve.port
    run.check_free(host, port)

    with serving_lock(engine):
        now = time.time_ns() // 1_000
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            first = None
            if not in_use(connection):
                first = create_key(connection, roles=["admin"], label="first", now=now)
            jobs.enqueue(connection, "publish", {}, now=now)
        engine.dispose()
        if first:
            terminal.out.print(f"key to sign in with, shown only now: {first}")
        terminal.out.print(f"serving {shop.path.name} on http://{host}:{port}; Ctrl-C ends it")
        run.serve(shop.path, host=host, port=port)


@keys.command("add", epilog="Example: clickscape keys add my-shop --role serve --label website")
def add_key(
    workspace: Folder,
    role: Annotated[list[str], typer.Option(help="read, serve, approve or admin; give any number.")],
    label: Annotated[str, typer.Option(help="What the key is for.")] = "",
) -> None:
    """Make an API key and show it, once."""
    _, engine, _, _ = _service(workspace)
    from clickscape.service.keys import create_key

    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        terminal.out.print(create_key(connection, roles=role, label=label, now=time.time_ns() // 1_000))  # type: ignore[arg-type]


@keys.command("list", epilog="Example: clickscape keys list my-shop")
def list_keys(workspace: Folder) -> None:
    """List the API keys in use: id, roles and label."""
    _, engine, _, _ = _service(workspace)
    from clickscape.service.keys import in_use

    with engine.connect() as connection:
        for key in in_use(connection):
            terminal.out.print(f"{key.key_id}  {','.join(sorted(key.roles))}  {terminal.printable(key.label)}")


@keys.command("revoke", epilog="Example: clickscape keys revoke my-shop 0123456789abcdef")
def revoke(
    workspace: Folder, key_id: Annotated[str, typer.Argument(help="Id of the key, as listed.", show_default=False)]
) -> None:
    """Revoke an API key; instances that run notice it within seconds."""
    _, engine, _, _ = _service(workspace)
    from clickscape.service.keys import revoke_key

    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        revoke_key(connection, key_id, now=time.time_ns() // 1_000)


@app.command(epilog="Example: clickscape pull my-shop")
def pull(workspace: Folder) -> None:
    """Bring the service's events and decisions into the workspace, for `clicks`, `reward` and `optimize`."""
    shop, engine, _, _ = _service(workspace)
    from clickscape.service.workspace_sync import pull as bring

    pulled = bring(engine, shop, now=time.time_ns() // 1_000)
    terminal.out.print(f"{pulled.events} events in {len(pulled.files)} new files")
    terminal.print_output(shop.events_folder, after=f"clickscape clicks {workspace}")


@app.command(epilog="Example: clickscape forget my-shop --user ann@example.com")
def forget(
    workspace: Folder,
    user: Annotated[str, typer.Option(help="The user_key, as your pages send it.", show_default=False)],
) -> None:
    """Remove a user from every event, in the store and in pulled files; counts, which name nobody, stay."""
    shop, engine, _, key = _service(workspace)
    from clickscape.service.decisions import hashed_user
    from clickscape.service.pull import forget_user

    with shop.lock():
        number = forget_user(engine, shop.events_folder, hashed_user(user, key))
    terminal.out.print(f"removed from {number} events")


@app.command(epilog="Example: clickscape doctor my-shop")
def doctor(workspace: Folder) -> None:
    """Say what is wrong with a workspace and its service, and what to do; exit code 1 when something is."""
    shop, engine, _, _ = _service(workspace)
    from clickscape.service.doctor import problems

    found = list(problems(shop, engine))
    for line in found:
        terminal.out.print(terminal.printable(line))
    if found:
        raise typer.Exit(1)
    terminal.out.print("nothing is wrong")


@app.command(epilog="Example: clickscape backup my-shop store-2026-11-30.db")
def backup(
    workspace: Folder, file: Annotated[Path, typer.Argument(help="New file for the copy.", show_default=False)]
) -> None:
    """Copy the service's SQLite store while it is served; the rest of a workspace are plain files."""
    _, engine, _, _ = _service(workspace)
    from clickscape.service.backup import backup as copy

    terminal.out.print(f"{copy(engine, file):,} bytes")
    terminal.print_output(file, after=f"clickscape restore {workspace} {file}")


@app.command(epilog="Example: clickscape restore my-shop store-2026-11-30.db")
def restore(
    workspace: Folder, file: Annotated[Path, typer.Argument(help="Copy by `backup`.", show_default=False)]
) -> None:
    """Bring a copy of the store back; end the service before. What was there is kept as store.db.before."""
    shop, engine, _, _ = _service(workspace, migrate=False)
    from clickscape.service.backup import restore as bring

    bring(engine, file)
    terminal.out.print("restored")
    terminal.print_output(shop.path / "service" / "store.db", after=f"clickscape serve {workspace}")
