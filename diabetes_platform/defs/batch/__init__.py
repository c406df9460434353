"""The batch path: raw source to served table."""
