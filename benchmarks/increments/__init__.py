"""What an increment of the stream costs, and how long a message takes into the lake."""
