"""Alembic's environment and the migrations, part of the package so that every installation can bring a database up."""
