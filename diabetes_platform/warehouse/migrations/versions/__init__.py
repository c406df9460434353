"""One module for each version of the warehouse's schema, oldest first."""
