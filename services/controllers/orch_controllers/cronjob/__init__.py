"""CronJob: makes a job at every moment of a schedule."""
