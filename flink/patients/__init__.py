"""The stream's job: changes of the intake table become each patient's newest valid image."""
