"""PostgreSQL: the embedded server, the pool, the migrations and every SQL statement. Only this package runs SQL."""
