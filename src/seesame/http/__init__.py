"""What every process that speaks HTTP shares: the server, what each request passes, errors as problems."""
