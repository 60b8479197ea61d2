"""Searches: Optuna suggests configurations, cohorts train them, the best run again on fresh seeds."""
