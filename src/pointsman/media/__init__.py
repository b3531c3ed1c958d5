"""What requests link to, fetched under guard."""
