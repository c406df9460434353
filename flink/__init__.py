"""The stream's Flink jobs, one folder per job. They import only the contract from the platform."""
