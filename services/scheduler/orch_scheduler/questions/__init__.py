"""What the scheduler answers when it is asked why, why not, and what if. No answer changes anything."""
