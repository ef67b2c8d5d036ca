"""Run the service: one process that answers, one that works, and a parent that starts the worker again when it dies."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from string import Template

from fastapi import FastAPI
from sqlalchemy.engine import Engine

from clickscape.config import Settings
from clickscape.config.environment import allowed
from clickscape.errors import ConfigError, StoreError
from clickscape.service.store import open_store, serving_lock
from clickscape.stages.experiment import make_key, read_key
from clickscape.workspace import Workspace

WORKSPACE = "CLICKSCAPE_SERVE_WORKSPACE"
"""Environment variable by which the processes of a service know its workspace."""

_WHILE_SERVING = ExitStack()  # holds the store's lock as long as the process lives


def address_of(workspace: Workspace, settings: Settings) -> str:
    """Return the URL of a workspace's store: that of the settings, or SQLite inside the workspace."""
    if settings.serve.store:
        try:
            return Template(settings.serve.store).substitute(allowed())
        except (KeyError, ValueError):
            raise StoreError("serve.store: a ${NAME} in it is not set, or not listed. Export the variable and list it, "
                             "as in: export CLICKSCAPE_ALLOWED_ENV=PGPASSWORD") from None  # fmt: skip
    return f"sqlite:///{workspace.path / 'service' / 'store.db'}"


def open_service(path: Path, *, migrate: bool = True) -> tuple[Workspace, Engine, Settings, bytes]:
    """Return a workspace, its store, its settings and its key; store and key are made where they are missing.

    Without `migrate` the store is not looked at yet: it may be damaged, or of a later release.
    """
    workspace = Workspace.open(path)
    settings = workspace.settings
    engine = open_store(address_of(workspace, settings), migrate=migrate)
    return workspace, engine, settings, make_key(workspace)


def from_environment() -> tuple[Workspace, Engine, Settings, bytes]:
    """Return the same for a process of a service, which its parent told the workspace; it serves until it ends."""
    workspace = Workspace(os.environ[WORKSPACE])
    settings = workspace.settings
    engine = open_store(address_of(workspace, settings), migrate=False)
    _WHILE_SERVING.enter_context(serving_lock(engine))
    return workspace, engine, settings, read_key(workspace)


def application() -> FastAPI:
    """Return the application, for the server's process."""
    from clickscape.service.app import Service, create
    from clickscape.service.bandit_policy import propensities
    from clickscape.service.limits import log_to_stderr

    log_to_stderr()
    workspace, engine, settings, key = from_environment()
    made = create(Service(workspace.path, engine, settings.serve, settings.clicks, key, propensities))
    gc.collect()
    gc.freeze()  # what the imports made stays: to look through it again stops all requests for more than 0.1 s
    return made


def serve(workspace: Path, *, host: str, port: int) -> None:
    """Answer on an address until interrupted, with a worker process beside."""
    from granian.constants import Interfaces, Loops
    from granian.server import Server

    os.environ[WORKSPACE] = str(workspace.absolute())
    ending = threading.Event()
    supervisor = threading.Thread(target=_supervise, args=(ending,), daemon=True)
    supervisor.start()
    try:
        Server(
            "clickscape.service.run:application",
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            loop=Loops.uvloop,
            factory=True,
            workers=1,
            respawn_failed_workers=True,
            log_access=False,
        ).serve()
    finally:
        ending.set()
        supervisor.join()


def check_free(host: str, port: int) -> None:
    """Raise ConfigError for an address that is taken: two servers would share it, and each get half of the requests."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be listened on ({error.strerror}). End what does, or give another --host or --port."
        ) from None


def _supervise(ending: threading.Event) -> None:
    """Keep a worker running; one that dies at once is started again ever later."""
    wait = 0.5
    while not ending.is_set():
        worker = subprocess.Popen([sys.executable, "-m", "clickscape.service.worker"])
        while worker.poll() is None and not ending.wait(0.2):
            pass
        if ending.is_set():
            worker.terminate()
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            return
        ending.wait(wait)
        wait = min(2 * wait, 30.0)
