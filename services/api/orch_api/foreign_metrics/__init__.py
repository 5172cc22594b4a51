"""Custom and external metrics: values about objects and about nothing in the cluster, found by configured rules."""
