"""Runs migrations on the connection that ``connection.migrate`` hands over."""

from alembic import context

from veriphoto_review.database.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
