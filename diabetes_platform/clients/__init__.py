"""What other services tell of themselves over HTTP, and what they are asked to do."""
