"""The database: schema, migrations and all SQL of the package."""
