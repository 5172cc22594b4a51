"""What objects use of quotas, as the api charges it and the controller counts it."""
