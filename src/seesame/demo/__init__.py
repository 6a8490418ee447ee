"""A sample shop catalogue that Seesame draws itself."""
