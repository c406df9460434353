"""PostgreSQL: migrations, bulk copy into staging, atomic promotion to serving."""
