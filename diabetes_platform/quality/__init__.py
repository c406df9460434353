"""Great Expectations: the suite rendered from the contract, its results and Data Docs."""
