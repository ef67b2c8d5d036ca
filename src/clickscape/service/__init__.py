"""The service: serves creatives, counts their events, and lets people decide, on SQLite or PostgreSQL.

`app` answers HTTP and imports no model; `event_writer` commits events in groups; `selector` chooses creatives; `worker`
draws and scores in a process of its own, from a queue in the same store.
"""
