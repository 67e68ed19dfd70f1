"""TLS between the processes of one system: its files, where it is missing, and what is wrong with a connection."""
