"""Where rows outlast the process: a file of SQLite's, or a PostgreSQL that several gateways share.

`base` says what a store promises, `sql` is that in SQL, `sqlite` and `postgres` are how each is reached. No module here
knows threads, retries or the event loop: a call blocks, and raises StoreError where it cannot be done.
"""
