"""The review database: its tables, the way to open it, its migrations. SQLite or PostgreSQL."""
