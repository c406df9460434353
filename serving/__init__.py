"""What answers patients: the API (`app/`). It shares only the contract with the batch side."""
