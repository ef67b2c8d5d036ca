"""A log in a database: the table that an address names. The address comes from outside and may hold a password."""

from __future__ import annotations

from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import ibis

from clickscape.clicks.locations import LogLocation, redact
from clickscape.config.environment import ALLOWED, allowed
from clickscape.errors import LogError


def table_of(location: LogLocation) -> ibis.Table:
    """Return the table; LogErrors hold no word of the driver's own messages, which may quote the password."""
    safe = redact(location.url)
    scheme = location.url.split("://", maxsplit=1)[0].replace("postgresql", "postgres")
    if scheme not in _databases():
        raise LogError(f"{safe}: no database that Ibis reaches; it knows {', '.join(sorted(_databases()))}.")
    try:
        address = Template(location.url).substitute(allowed())
    except (KeyError, ValueError):
        raise LogError(f"{safe}: a ${{NAME}} in it is not set, or not listed. Export the variable, and list it, as in: "
                       f"export {ALLOWED}=NAME; write $$ for a dollar.") from None  # fmt: skip
    parts = urlsplit(address)
    file = Path(parts.netloc + parts.path)
    if scheme in ("duckdb", "sqlite") and not file.is_file():
        raise LogError(f"{safe}: no such file. Correct the path.")
    try:
        connection = ibis.connect(address, **({"read_only": True} if scheme == "duckdb" else {}))
    except ImportError:
        raise LogError(f"{safe}: no driver for it. Run: pip install 'ibis-framework[{scheme}]'") from None
    except Exception as error:
        raise LogError(
            f"{safe}: no connection ({type(error).__name__}). Check address, user, password and network."
        ) from None
    schema, _, name = location.table.rpartition(".")
    try:
        return connection.table(name, database=schema or None)
    except Exception as error:
        raise LogError(f"{safe}: no table {location.table!r} ({type(error).__name__}). Check --table.") from None


def _databases() -> set[str]:
    return {entry.name for entry in ibis.util.backend_entry_points()}
