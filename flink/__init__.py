"""The stream's Flink jobs: one folder per job. Of the platform they import the contract only."""
